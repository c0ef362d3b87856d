// The vector kernels for any processor.
#include "backend/cpu/isa_scalar.h"
//
#include "backend/cpu/generic_vectors.h"
