// Replaces MLX's: here bfloat converts to float, and the functions of float serve.
#pragma once
