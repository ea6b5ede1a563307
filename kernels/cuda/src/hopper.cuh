// What the sm_90a kernels share.
#pragma once

#include "common.cuh"
#ifndef EMULATE
#include "wgmma.cuh"
#endif

// wgmma_desc is the matrix descriptor of a K-major tile with 128-byte swizzle: rows of 128 bytes, groups of eight rows
// 1024 bytes apart, 16-byte chunk c of row r at chunk c^(r%8). at is a multiple of 16, the groups begin at multiples of
// 1024.
DEVICE u64 wgmma_desc(u32 at) { return (u64)(at >> 4 | 1 << 16) | (u64)(1024 >> 4 | 1 << 30) << 32; }
