package scheduler

import "testing"

// BenchmarkBrownian draws the noise of 20 steps for latents of 1024×1024 pixels.
func BenchmarkBrownian(b *testing.B) {
	const n = 4 * 128 * 128
	c, err := Parse([]byte(sdxlConfig))
	if err == nil {
		c, err = c.As("k_dpmpp_2m_sde_karras")
	}
	if err != nil {
		b.Fatal(err)
	}
	s, err := c.Schedule(Options{Steps: 20})
	if err != nil {
		b.Fatal(err)
	}
	noise := make([]float32, n)
	for b.Loop() {
		path := NewBrownian(n, s.PathRange[0], s.PathRange[1], 1)
		for _, step := range s.Steps {
			if step.HasPath() {
				path.Noise(noise, step.Path[0], step.Path[1])
			}
		}
	}
}
