// out[i]: a sum of 16 chains of multiply-adds, v -> v / 2 + 1, that stay in registers.
// For measuring how many a GPU does in a second.
//
// Grid: (elements of x, 1, 1). Template: none.

const int i = int(thread_position_in_grid.x);
float4 a = float4(0.0f, 1.0f, 2.0f, 3.0f) + x[i];
float4 b = a + 4.0f, c = a + 8.0f, d = a + 12.0f;
const float4 half_of(0.5f), one(1.0f);
for (int round = 0; round < rounds[0]; round++) {
  a = fma(a, half_of, one);
  b = fma(b, half_of, one);
  c = fma(c, half_of, one);
  d = fma(d, half_of, one);
}
const float4 sum = (a + b) + (c + d);
out[i] = (sum.x + sum.y) + (sum.z + sum.w);
