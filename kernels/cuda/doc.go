// Package cuda runs plans on an NVIDIA card of compute capability 8.0 or newer, through package driver: no cgo, no
// toolkit, kernels as PTX that the driver compiles and caches.
//
// # Values
//
// Request, Step, State and Result values are stored in float32, token ids in int32, pixels in bytes. Temporaries are
// stored in the program's precision, float16 or bfloat16, with two exceptions in float32: those that only guidance and
// the solver read, and, in bfloat16 with the portable kernels, the residual stream. GEMMs accumulate in float32; norms,
// softmax and all that surrounds the model compute in it. Kernels take either storage type where that costs nothing;
// elsewhere a conversion goes in front.
//
// # From a plan to a run
//
// Compile fuses: linear layers of one input become one GEMM (fuse), and on Hopper LayerNorms are folded into the GEMMs
// behind them (fuseNorms) and GEMM epilogues write the statistics for GroupNorms (fuseGroups). It lowers each node to
// launches with symbolic addresses (symbol), registers its weights, which the first run uploads and packs on the card
// (loader), and plans memory: values that outlive a run get memory of the program's own, temporaries and scratch share
// one arena with all programs of the device. The first run resolves the addresses and captures the launches as a CUDA
// graph. They are captured again when the arena or the weights have moved. All work of a device goes through one
// stream, so that programs may share the arena and pass values on without waiting.
//
// # Kernels
//
// src/ holds the sources, ptx/ the PTX modules that build.sh makes of them, manifest.json the hashes that tie the two
// together. Linear layers and convolutions of any geometry are one implicit GEMM, but for 3×3 convolutions to a few
// channels (conv_few). Channel counts that are not multiples of 8 are padded in front of it. There are two families.
// sm_80 is portable: it runs on every card from compute capability 8.0 on with at most 99 KB of shared memory a block.
// sm_90a is for Hopper: it replaces the GEMM, by gemm_cooperative or gemm_pingpong where TMA can load the operands,
// else by gemm_wgmma, and the attention of heads of 64, and takes all other kernels from sm_80. chooseTile chooses the
// tile of a GEMM. Where no tuned kernel takes an operation's shapes a general one does, and Options.Warn gets a line if
// the model is of full size. No kernel has local memory in its PTX. TestModules and TestSharedMemory check all this on
// the modules.
//
// emulate/ runs the same sources on the CPU behind a fake driver: go test -tags emulate checks indices, barriers and
// waits of every kernel, and the engine around them, on machines without a card. sanitize.sh runs the small and odd
// cases on a card under compute-sanitizer.
//
// # State
//
// HARDWARE.md has what was measured and tested on which card.
//
// Package driver has run on an H200 and on H100s (driver for CUDA 13.0), where its TestRealDevice passes: copies,
// launches, graphs and their updates, limits and messages. A fault costs the process its card, whatever is closed or
// reset; see package driver.
package cuda
