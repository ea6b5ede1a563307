// What the kernels for Hopper share.
#pragma once

#include "common.cuh"
#ifndef EMULATE
#include "wgmma.cuh"
#endif

// describe is the matrix descriptor of rows of 128 bytes in groups of eight, 1024 bytes from group to group, swizzled within each group: 16-byte piece c
// of row r lies at piece c^(r%8). at is a multiple of 16, the groups begin at multiples of 1024.
DEVICE u64 describe(u32 at) { return (u64)(at >> 4 | 1 << 16) | (u64)(1024 >> 4 | 1 << 30) << 32; }
