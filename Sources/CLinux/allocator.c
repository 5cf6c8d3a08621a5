#include "clinux.h"

#include <malloc.h>

void clinux_give_back_large_pieces(void) { mallopt(M_MMAP_THRESHOLD, 1 << 20); }
