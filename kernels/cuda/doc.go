// Package cuda runs plans on an NVIDIA card of compute capability 8.0 or newer, through package driver: no cgo, no
// toolkit, kernels as PTX that the driver compiles and caches.
//
// # Values
//
// Request, Step, State and Result values are kept in float32, token ids in int32, pixels in bytes; temporaries are kept
// in the program's precision, float16 or bfloat16, but for those that only guidance and the solver read and, in
// bfloat16 on other cards than Hopper's, sums that residual connections go on adding to. Products accumulate in
// float32, norms, softmax and everything around the model compute in it. Kernels take either storage type where that is
// free; where it is not, a converted copy goes in front.
//
// # The way of a plan
//
// Compile joins linear layers of one input (fuse) and, on Hopper, lets products take over the layer norms between them
// (fuseNorms) and the moments of group norms behind them (fuseGroups). It lowers each node to launches whose addresses
// are symbolic (symbol), registers its weights, which the first run uploads and packs on the card (loader), and plans
// memory: values that outlive a run in memory of the program's own, temporaries and scratch in the arena that all
// programs share. The first run turns names into addresses and records the launches as a graph; they are recorded again
// when the arena or the weights have moved. Everything of a device goes through one stream, so that programs may share
// the arena and hand values over without waiting.
//
// # Kernels
//
// src/ holds the sources, ptx/ the PTX modules that build.sh makes of them, manifest.json the hashes that tie the two
// together. One product kernel serves linear layers and convolutions of any geometry but those to a few channels
// (conv_few); channel counts that are not multiples of 8 are padded in front of it. There are two families: sm_80 runs
// on every card from capability 8.0 on with at most 99 KB of shared memory a block; sm_90a, for Hopper, replaces the
// product (by gemm_cooperative or gemm_pingpong where TMA can load the operands, else by gemm_wgmma) and
// the attention of heads of 64, and takes everything else from the first. Sizes of tiles are chosen by chooseTile.
// Where no tuned kernel takes an operation's shapes a general one does, and Options.Warn is called if the model is of
// full size. No kernel has local memory in its PTX; TestModules and TestSharedMemory check all this on the modules.
//
// emulate/ runs the same sources on the processor behind a fake driver: go test -tags emulate checks indices, barriers
// and waits of every kernel, and the engine around them, on machines without a card. sanitize.sh runs the small and odd
// cases on a card under compute-sanitizer.
//
// # State
//
// What was measured and judged on which card is in HARDWARE.md.
//
// Package driver has run on an H200 and on H100s (driver for CUDA 13.0), where its TestRealDevice holds: copies,
// launches, graphs and their updates, limits and messages. A fault costs the process its card, whatever is closed or
// reset; see package driver.
package cuda
