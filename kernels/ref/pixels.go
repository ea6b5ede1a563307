package ref

import "math"

func toPixels[T float](in []Tensor) element[T] {
	x := in[0].F
	return func(i int) T {
		if i%4 == 3 {
			return 255
		}
		v := min(max(T(x[i/4*3+i%4])/2+0.5, 0), 1)
		return T(math.RoundToEven(float64(T(v * 255))))
	}
}

func fromPixels[T float](in []Tensor) element[T] {
	v := in[0].B
	return func(i int) T { return 2*T(T(v[i/3*4+i%3])/255) - 1 }
}
