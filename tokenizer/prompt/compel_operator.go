package prompt

import "math"

// lora is lora_weight.
func (p *compelParser) lora(i int) ([]compelNode, int, bool) {
	at, ok := p.literal(i, "useLora")
	if !ok {
		at, ok = p.literal(i, "withLora")
	}
	if !ok {
		return nil, 0, false
	}
	if at, ok = p.literal(at, "("); !ok {
		return nil, 0, false
	}
	at = p.skip(at)
	name := compelKey.FindString(p.text[at:])
	if at += len(name); name == "" {
		return nil, 0, false
	}
	weight := 1.0
	if next, ok := p.literal(at, ","); ok {
		if w, end, ok := p.number(p.skip(next)); ok {
			weight, at = w, end
		}
	}
	at, ok = p.literal(at, ")")
	return []compelNode{{kind: 'l', text: name, weight: weight}}, at, ok
}

// operator is a list of prompts in brackets with an operator and its options, weights, of which NaN is no_normalize.
func (p *compelParser) operator(i int, names ...string) (prompts [][]compelNode, weights []float64, end int, ok bool) {
	if i, ok = p.literal(i, "("); !ok {
		return nil, nil, 0, false
	}
	for {
		nodes, next, found := p.target(i)
		if !found {
			nodes, next, found = p.quoted(i, true)
		}
		if !found {
			return nil, nil, 0, false
		}
		prompts, i = append(prompts, nodes), next
		if next, more := p.literal(i, ","); more {
			i = next
			continue
		}
		break
	}
	if i, ok = p.literal(i, ")"); !ok {
		return nil, nil, 0, false
	}
	ok = false
	for _, name := range names {
		if next, is := p.literal(i, name); is && !ok {
			i, ok = next, true
		}
	}
	if !ok {
		return nil, nil, 0, false
	}
	if i, ok = p.literal(i, "("); !ok {
		return nil, nil, 0, false
	}
	if weights, i, ok = p.options(i); !ok {
		return nil, nil, 0, false
	}
	i, ok = p.literal(i, ")")
	return prompts, weights, i, ok
}

// options are numbers, flags and key=value, of which numbers count, and no_normalize, as NaN.
func (p *compelParser) options(i int) (weights []float64, end int, ok bool) {
	for first := true; ; first = false {
		at := p.skip(i)
		key := compelKey.FindString(p.text[at:])
		if next, is := p.literal(at+len(key), "="); key != "" && is {
			next = p.skip(next)
			_, end, number := p.number(next)
			if !number {
				end = next + len(compelKey.FindString(p.text[next:]))
			}
			i = end
		} else if v, end, number := p.number(at); number {
			weights, i = append(weights, v), end
		} else if key == "no_normalize" {
			weights, i = append(weights, math.NaN()), at+len(key)
		} else if key != "" || !first {
			return nil, 0, false
		} else {
			return nil, i, true
		}
		next, more := p.literal(i, ",")
		if !more {
			return weights, i, true
		}
		i = next
	}
}
