// Package cuda runs plans on an NVIDIA card of compute capability 8.0 or newer, through package driver: no cgo, no toolkit, kernels as PTX that the driver
// compiles and caches.
//
// # Values
//
// Request, Step, State and Result values are kept in float32, token ids in int32; temporaries are kept in the program's precision, float16 or
// bfloat16, but for those that only guidance and the solver read. Products accumulate in float32, norms, softmax and everything around the model
// compute in it. Kernels take either storage type where that is free; where it is not, a converted copy goes in front.
//
// # The way of a plan
//
// Compile lowers each node to launches whose addresses are still names (ref), registers its weights, which are packed on the card while they
// are uploaded, and plans memory: values that outlive a run in memory of the program's own, temporaries and scratch in the arena that all
// programs share. The first run turns names into addresses and records the launches as graphs; they are recorded again when the arena or
// the weights have moved. Everything of a device goes through one stream, so that programs may share the arena and hand values over without
// waiting.
//
// # Kernels
//
// src/ holds the sources, images/ what build.sh made of them, manifest.json the hashes that tie the two together. One product kernel serves
// linear layers and convolutions of any geometry; channel counts that are not multiples of 8 are padded in front of it. There are two families: sm_80
// runs on every card from capability 8.0 on with at most 99 KB of shared memory a block; sm_90a, for Hopper, replaces the product and the
// attention of heads of 64 and takes everything else from the first. Sizes of tiles are chosen by chooseTile.
//
// emulate/ runs the same sources on the processor behind a fake driver: go test -tags emulate checks indices, barriers and waits of
// every kernel, and the engine around them, on machines without a card.
//
// # State
//
// The engine has run on the emulation only, in 16-bit precision over all small and odd cases of kernels/kerneltest; it has not been measured or judged on a card
// yet, and the commands do not offer it. Package driver has run on an H100 (driver for CUDA 13.0): copies, launches, graph replay, limits and messages hold; recovery after a
// faulting kernel and the refusal of an unfit graph update do not yet behave as its tests demand.
package cuda
