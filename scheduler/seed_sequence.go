package scheduler

// seedSequence is numpy.random.SeedSequence(entropy, spawn_key, pool_size).generate_state(words): 32-bit seeds that are
// well mixed for any entropy. torchsde seeds the nodes of its Brownian tree with it.
func seedSequence(entropy uint64, spawnKey []uint64, poolSize, words int) []uint32 {
	const (
		initA, multA = 0x43b0d7e5, 0x931e8875
		initB, multB = 0x8b51f9dd, 0x58f38ded
		mixL, mixR   = 0xca01f9dd, 0x4973f715
	)
	input := words32(entropy)
	if len(spawnKey) > 0 {
		for len(input) < poolSize {
			input = append(input, 0)
		}
		for _, key := range spawnKey {
			input = append(input, words32(key)...)
		}
	}
	hash := func(constant *uint32, factor, v uint32) uint32 {
		v ^= *constant
		*constant *= factor
		v *= *constant
		return v ^ v>>16
	}
	mix := func(x, y uint32) uint32 {
		v := uint32(mixL)*x - uint32(mixR)*y
		return v ^ v>>16
	}
	constant := uint32(initA)
	pool := make([]uint32, poolSize)
	for i := range pool {
		var v uint32
		if i < len(input) {
			v = input[i]
		}
		pool[i] = hash(&constant, multA, v)
	}
	for source := range pool {
		for to := range pool {
			if to != source {
				pool[to] = mix(pool[to], hash(&constant, multA, pool[source]))
			}
		}
	}
	if len(input) > poolSize {
		for _, v := range input[poolSize:] {
			for to := range pool {
				pool[to] = mix(pool[to], hash(&constant, multA, v))
			}
		}
	}
	constant = initB
	state := make([]uint32, words)
	for i := range state {
		state[i] = hash(&constant, multB, pool[i%poolSize])
	}
	return state
}

// words32 is v in 32-bit words, the lowest first and no more than it needs; zero is one word.
func words32(v uint64) []uint32 {
	if v>>32 == 0 {
		return []uint32{uint32(v)}
	}
	return []uint32{uint32(v), uint32(v >> 32)}
}
