package sdxl

// FreeU scales what the UNet's first two blocks of the way up read: the first half of the channels that come from the
// block below, and the lowest frequencies of the skip connections. Its authors have 0.9, 0.2, 1.3 and 1.4 for SDXL.
// All are above 0, since diffusers takes a 0 for none at all.
type FreeU struct {
	S1 float64 `json:"s1"` // of the skip connections of the first block
	S2 float64 `json:"s2"` // of the second one's
	B1 float64 `json:"b1"` // of the channels of the first block
	B2 float64 `json:"b2"` // of the second one's
}

// maxFreeU is the largest factor that is taken.
const maxFreeU = 100

// resolveFreeU checks the factors.
func (s *Spec) resolveFreeU(q *resolved) error {
	u := q.request.FreeU
	if u == nil {
		return nil
	}
	for _, f := range []field[float64]{{"freeu.s1", u.S1}, {"freeu.s2", u.S2}, {"freeu.b1", u.B1}, {"freeu.b2", u.B2}} {
		if !(f.value > 0 && f.value <= maxFreeU) {
			return bad(f.name, f.value, "above 0, up to %d", maxFreeU)
		}
	}
	q.FreeU = new(*u)
	return nil
}
