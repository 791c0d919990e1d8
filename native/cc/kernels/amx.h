// Intel's matrix tiles: eight registers of 16 rows of 64 bytes.
#pragma once

#include <immintrin.h>
#include <stdint.h>

#include "../simd.h"

// What a thread does before it uses tiles: all eight at full size.
RX_INLINE void tiles_begin() {
  struct {
    uint8_t palette, start_row, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
  } config __attribute__((aligned(64))) = {};
  config.palette = 1;
  for (int i = 0; i < 8; i++) {
    config.row_bytes[i] = 64;
    config.rows[i] = 16;
  }
  __asm__ volatile("" ::: "memory");
  _tile_loadconfig(&config);
}
// And after: a thread that holds none is switched faster.
RX_INLINE void tiles_end() { _tile_release(); }
