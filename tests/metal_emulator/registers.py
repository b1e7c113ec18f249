"""How many registers a kernel takes, by a compiler for another maker's GPU.

Nothing but Apple's compiler knows what Apple's GPUs will take. Clang has the same
front end and optimizer, and a back end for a GPU that also has 32-bit registers for
each thread of a SIMD-group: what spills there, or grows there, is worth a look.
"""

from dataclasses import dataclass
from pathlib import Path
import re
import subprocess
import sys
import tempfile

from .address_spaces import with_static_arrays
from .capture import Kernel
from .errors import KernelRefusedError
from .translate import parameters, plain

_HEADER = Path(__file__).parent / "lint" / "metal_stdlib"
_COMMAND = [
    *(sys.executable, "-m", "ziglang", "clang", "-x", "c++", "-std=c++17", "-S"),
    *("--target=amdgcn-amd-amdhsa", "-mcpu=gfx1030", "-nogpulib"),
    *("-nostdinc", "-nostdinc++", "-fno-exceptions", "-fno-rtti", "-w"),
    *("-O3", "-ffp-contract=on"),
]
# There an address space of constants has another number, and is read through others.
_CONSTANT = ("address_space(2)", "address_space(4)")
# The back end wants bodies for what kernels call. That they compute something else does
# not matter: each takes about the registers that the real one takes.
_BODIES = """
namespace metal {
template <class To, class From> inline To as_type(From a) {
  return __builtin_bit_cast(To, a);
}
template <> constexpr float numeric_limits<float>::infinity() {
  return __builtin_inff();
}
inline int min(int a, int b) { return a < b ? a : b; }
inline uint min(uint a, uint b) { return a < b ? a : b; }
inline int max(int a, int b) { return a > b ? a : b; }
inline float min(float a, float b) { return __builtin_fminf(a, b); }
inline float max(float a, float b) { return __builtin_fmaxf(a, b); }
inline float sqrt(float a) { return __builtin_sqrtf(a); }
inline float rsqrt(float a) { return 1.0f / __builtin_sqrtf(a); }
inline float fabs(float a) { return __builtin_fabsf(a); }
inline bool isnan(float a) { return a != a; }
inline float fma(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
inline float exp(float a) { return __builtin_exp2f(a * 1.442695f); }
inline float log(float a) { return __builtin_log2f(a) * 0.6931472f; }
inline float tanh(float a) { return 1.0f - 2.0f / (1.0f + exp(2.0f * a)); }
inline float4 max(float4 a, float4 b) {
  return (float4){max(a.x, b.x), max(a.y, b.y), max(a.z, b.z), max(a.w, b.w)};
}
inline void threadgroup_barrier(mem_flags) { __builtin_amdgcn_s_barrier(); }
inline void simdgroup_barrier(mem_flags) { __builtin_amdgcn_s_barrier(); }
template <class T> inline T simd_sum(T a) { return a + a; }
template <class T> inline T simd_max(T a) { return a + a; }
template <class T> inline T simd_min(T a) { return a + a; }
template <class T> inline T simd_shuffle_down(T a, ushort) { return a + a; }
template <class T> inline T simd_shuffle_xor(T a, ushort) { return a + a; }
template <class T> inline T simd_broadcast(T a, ushort) { return a; }
}
"""
_ENTRY = """
#define IN_GROUP(axis) __builtin_amdgcn_workitem_id_##axis()
extern "C" __attribute__((amdgpu_kernel, amdgpu_flat_work_group_size(256, 256)))
void entry({parameters}) {{
  uint3 position;
  position.x = __builtin_amdgcn_workgroup_id_x() * 128 + IN_GROUP(x);
  position.y = __builtin_amdgcn_workgroup_id_y() * 2 + IN_GROUP(y);
  position.z = __builtin_amdgcn_workgroup_id_z() + IN_GROUP(z);
  {call}({arguments});
}}
"""


@dataclass(frozen=True)
class Registers:
    """Of one thread: 32-bit registers, and bytes that did not fit into them."""

    used: int
    spilled: int


def registers(kernel: Kernel) -> Registers:
    """What a kernel takes.

    Raises:
        KernelRefusedError: if it does not compile.
    """
    with tempfile.TemporaryDirectory() as folder:
        header = _HEADER.read_text().replace(*_CONSTANT) + _BODIES
        (Path(folder) / "metal_stdlib").write_text(header)
        source, target = Path(folder) / "kernel.cpp", Path(folder) / "kernel.s"
        source.write_text(_program(kernel))
        command = [*_COMMAND, f"-I{folder}", str(source), "-o", str(target)]
        result = subprocess.run(command, capture_output=True, text=True)
        if result.returncode:
            raise KernelRefusedError(f"{kernel.name}: {result.stderr[:2000]}")
        assembly = target.read_text()
    return Registers(_number("NumVgprs", assembly), _number("ScratchSize", assembly))


def _number(name: str, assembly: str) -> int:
    found = re.search(rf"; {name}: (\d+)", assembly)
    if found is None:
        raise KernelRefusedError(f"the assembly tells no {name}")
    return int(found[1])


def _program(kernel: Kernel) -> str:
    """The kernel as a function, and an entry that hands it its arguments."""
    name, source = kernel.name, kernel.source
    specialization = re.search(rf"decltype\(({re.escape(name)}<.*>)\) ", source)
    call = specialization[1] if specialization else name
    dtype = re.search(r"<\s*(\w+)", call)
    code = with_static_arrays(plain(source))
    uninitialized = "__attribute__((loader_uninitialized)) static threadgroup"
    code = code.replace("static threadgroup", uninitialized)
    code = re.sub(r"template\s+decltype[^;]*;", "", code)
    code = code.replace("[[kernel]] void", "inline __attribute__((always_inline)) void")
    code = re.sub(r"\[\[\w+(\(\d+\))?\]\]", "", code)
    # Metal makes a vector by a call of its type, clang by braces.
    code = re.sub(
        r"return float([24])\(((?:[^()]|\([^()]*\))*,.*?)\);",
        r"return (float\1){\2};",
        code,
        flags=re.DOTALL,
    )
    declared, arguments = [], []
    for parameter in parameters(name, source):
        if parameter["attribute"] != "buffer":
            arguments.append("position" + ".x" * (parameter["type"] == "uint"))
            continue
        kind = parameter["type"]
        if dtype:
            kind = re.sub(r"\bT\b", dtype[1], kind)
        declared.append(f"{kind}* {parameter['name']}")
        star = "*" if parameter["reference"] == "&" else ""
        arguments.append(star + parameter["name"])
    entry = _ENTRY.format(
        parameters=", ".join(declared), call=call, arguments=", ".join(arguments)
    )
    return f"#include <metal_stdlib>\nusing namespace metal;\n{code}\n{entry}"
