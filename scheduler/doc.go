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
// must draw it too, or later draws differ. Where step.HasPath it is the noise of a Brownian path instead
// (Brownian, over Schedule.PathRange), which leaves the generator alone. One with step.Threshold is not affine: the
// clamp goes by a quantile over the image, and Step.Apply takes it on the host. With Schedule.Unconditional (CFG++) the
// caller sets hK to the model's output without the prompt before each step.
//
// Text-to-image starts from x = noise * InitNoiseSigma. Image-to-image starts from scale*latents + sigma*noise
// with (scale, sigma) from AddNoise(0). An ensemble of experts (the base with DenoisingEnd, then the refiner
// with DenoisingStart) passes x unchanged.
//
// Supported, as diffusers 0.42.1 computes them:
//
//	euler, euler_a, heun, lms      Euler (discrete and continuous timesteps), Euler ancestral, Heun, linear multistep
//	ddim, ddpm, pndm               DDIM, DDPM with every variance_type, PNDM with and without its Runge-Kutta steps
//	dpmpp_2m, dpmpp_2m_sde         DPM-Solver and DPM-Solver++ multistep, order 1 to 3, also SDE
//	dpmpp_2s                       DPM-Solver and DPM-Solver++ single-step, order 1 to 3, also SDE
//	dpmpp_sde                      DPM-Solver++ SDE of k-diffusion, with torchsde's Brownian tree
//	deis, unipc, sa_solver         DEIS, UniPC (bh1, bh2, x0 and noise), SA-Solver (order 1 to 4)
//	kdpm2, kdpm2_a                 DPM-Solver-2 of Karras et al., also ancestral
//	lcm, tcd                       the consistency samplers
//	edm_euler, edm_dpmpp_2m        for models trained as in EDM: Playground v2.5, CosXL
//	flow_euler                     for models trained with flow matching
//
// with their options: spacings, Karras, exponential, beta, Lu and flow sigmas, clips, dynamic thresholding, zero
// terminal SNR, trained betas, lambda_min_clipped. Coefficients are float64; the training schedule follows torch's
// float32 arithmetic, because its rounding is visible in the sigmas. An unsupported option that would change the
// results is an error: a scheduler within a scheduler (solver_p), a function (tau_func), and dynamic shifting where a
// pipeline would have to give mu. A key that no scheduler has is ignored, as in diffusers, and Config.Unknown lists it.
//
// No SDXL pipeline of diffusers takes FlowMatchEulerDiscreteScheduler, which has neither init_noise_sigma nor
// add_noise; here they are 1 and scale_noise.
//
// A model's own scheduler is Parse(scheduler_config.json); another one is its As("dpmpp_2m_karras") and so on, with
// diffusers' from_config rules for what carries over; With overrides single keys ("timestep_spacing": "trailing" for
// distilled models).
//
// # A1111 and ComfyUI
//
// Three programs mean different things by one name. Names without a prefix are diffusers' schedulers; k_ before a name
// is A1111's sampler (its own aliases), comfy_ ComfyUI's, both k-diffusion's:
//
//	                   diffusers: euler …       A1111: k_euler …             ComfyUI: comfy_euler …
//	training schedule  float32                  float64, alphas in float32   float64
//	sigmas             of spaced timesteps,     evenly over all timesteps    as A1111, simple without a word
//	                   leading in SDXL          (uniform), to 0.029, zero
//	Karras and others  over those (Euler, Heun, over 14.61 … 0.029           as A1111; beta, kl_optimal and
//	                   LMS) or over all                                      align_your_steps are its own
//	model's timestep   of the sigma, between    of the sigma, between        nearest whole one
//	                   whole ones or rounded    whole ones
//	first noise times  sqrt(σ²+1) with leading  σ                            sqrt(σ²+1) from the highest σ
//	                   spacing, else σ
//	last step          to zero                  to zero; DPM fast and DDIM   as A1111
//	                                            to a low σ
//	image-to-image     int(n·strength) steps    the same here: A1111's one   the same here
//	                                            more is not taken over
//
// Every name but those of DDIM, LCM, TCD and A1111's DDIM, DDIM CFG++, PLMS and UniPC takes one of Schedules after it:
// k_dpmpp_2m_karras, comfy_euler_beta, euler_sgm_uniform. Where diffusers has the sigmas itself (karras, exponential,
// beta) its name means diffusers'; what else follows it spans the training range. Lookup finds the name for a label of
// A1111 ("DPM++ 2M Karras", "Euler a") or ComfyUI ("dpmpp_2m_sde_gpu karras").
//
// Noise between steps is the seed's generator's, on from the first noise, as A1111's with its random number generator
// on the CPU. ComfyUI seeds another generator for that of its ancestral samplers and of LCM; here it is of the same
// distribution but other numbers. The SDE samplers (dpmpp_sde, dpmpp_2m_sde, dpmpp_3m_sde) draw it from a Brownian path
// of the run's seed as both programs do: A1111 with a path for each image over the sigmas of the whole schedule,
// ComfyUI with one for the batch over those that are run. The _gpu forms are the same here; ComfyUI draws theirs on the
// card.
//
// Samplers of CFG++ take two predictions apart, the guided one and the unconditional one: Schedule.Unconditional.
// A1111's DDIM CFG++ divides the scale of guidance by 12.5, so that 1 to 12.5 is CFG++'s range; ComfyUI's take the
// scale as it is.
//
// Left out: DPM adaptive, whose number of steps depends on the latents.
//
// Three things depend on the host in torch itself: the last bit of its square root, which moves sigmas by about 1e-7;
// the normal draws of 16 and more values, for which Generator follows AVX2 and AVX-512 hosts; and the last bit of its
// logarithm and exponential. By these diffusers and k-diffusion find the noise levels at which they ask for a Brownian
// path's noise, and a level that is off by its last bit changes that noise by about a thousandth. The tree itself is
// torchsde's bit for bit; the levels here are the correctly rounded ones, which torch has in most steps.
//
// Not for: guidance, guidance rescale, and anything that touches a device.
package scheduler
