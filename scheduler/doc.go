// Package scheduler turns a diffusers scheduler_config.json and a number of steps into data: a Schedule whose every
// Step is a small affine map that any device can execute. It also holds torch's CPU random generator, bit for bit,
// because a seed means nothing without it.
//
// One step of the sampling loop, with x the latents, m the model's output (after guidance) and h the history
// tensors that the schedule carries between steps (zero before the first):
//
//	m  = model(x * step.InputScale, step.Timestep)
//	x0 = clamp(step.A*x + step.B*m, -step.Clip, +step.Clip)      // no clamp when Clip is 0
//	[x, h1, ..., hK] = step.Matrix * [x, x0, m, noise, h1, ..., hK]
//
// Noise is unit normal. Where step.Noise is set the reference draws it, even if its coefficient is zero; the caller
// must draw it too, or later draws differ.
//
// Text-to-image starts from x = noise * InitNoiseSigma. Image-to-image starts from scale*latents + sigma*noise
// with (scale, sigma) from AddNoise(0). An ensemble of experts (the base with DenoisingEnd, then the refiner
// with DenoisingStart) passes x unchanged.
//
// Supported: Euler, Euler ancestral, Heun, LMS, DDIM, DPM-Solver++ multistep (also SDE), UniPC, LCM and TCD, as
// diffusers 0.42.1 computes them. Coefficients are float64; the training schedule follows torch's float32
// arithmetic, because its rounding is visible in the sigmas. An unsupported option that would change the
// results is an error. A key that no scheduler has is ignored, as in diffusers, and Config.Unknown lists it.
//
// A model's own scheduler is Parse(scheduler_config.json); another one is its As("dpmpp_2m_karras") and so on, with
// diffusers' from_config rules for what carries over; With overrides single keys ("timestep_spacing": "trailing" for
// distilled models).
//
// Two things depend on the host in torch itself: the last bit of its square root, which moves sigmas by about 1e-7, and
// the normal draws of 16 and more values, for which Generator follows AVX2 and AVX-512 hosts.
//
// Not for: guidance, guidance rescale, and anything that touches a device.
package scheduler
