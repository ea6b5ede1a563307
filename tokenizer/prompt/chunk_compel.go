package prompt

import "slices"

// Without is a prompt of compel's in which a fragment of a weight below 1 is masked in the text encoder.
type Without struct {
	Weight float64  // of the fragment
	Masked [][]bool // by chunk and token: what no other token attends to
}

// CompelChunks are chunks whose tokens have the fragments' weights, and what is blended with them.
type CompelChunks struct {
	Chunks  []Chunk
	Without []Without
}

// Compel is get_token_ids_and_expand_weights, with the masks of get_embeddings_for_weighted_prompt_fragments. Long
// texts are cut after a sentence, or else after a phrase or a word, as SplitLongTextMode.SENTENCES does.
func (c *Chunker) Compel(fragments []Fragment) (out CompelChunks, err error) {

	var tokens []Token
	ranges := make([]span, len(fragments))
	for i, f := range fragments {
		own, err := c.plain(f.Text)
		if err != nil {
			return out, err
		}
		for j := range own {
			own[j].Weight = f.Weight
		}
		ranges[i] = span{len(tokens), len(tokens) + len(own)}
		tokens = append(tokens, own...)
	}
	length := c.tokens.MaxLength()
	place := make([]int, 0, len(tokens)) // of each token, in all chunks
	for rest := tokens; ; {
		n := min(c.splitPoint(rest), len(rest))
		for i := range n {
			place = append(place, len(out.Chunks)*length+1+i)
		}
		out.Chunks, rest = append(out.Chunks, c.close(rest[:n])), rest[n:]
		if len(rest) == 0 {
			break
		}
	}
	for i, f := range fragments {
		r := ranges[i]
		if f.Weight >= 1 || r.from == r.to {
			continue
		}
		w := Without{Weight: f.Weight, Masked: make([][]bool, len(out.Chunks))}
		for k := range w.Masked {
			w.Masked[k] = make([]bool, length)
			for j := 1; j < length-1; j++ { // what delimits a full chunk is not masked
				at := k*length + j
				w.Masked[k][j] = place[r.from] <= at && at <= place[r.to-1]
			}
		}
		out.Without = append(out.Without, w)
	}
	return out, nil
}

// splitPoint is _find_next_best_split_point.
func (c *Chunker) splitPoint(tokens []Token) int {
	most := c.Content()
	if len(tokens) <= most {
		return most
	}
	ends := func(is func(id int32) bool) int {
		for i := most - 1; i >= 0; i-- {
			if tokens[i].Name == "" && is(tokens[i].ID) {
				return i + 1
			}
		}
		return 0
	}
	sign := func(signs ...string) func(int32) bool {
		var ids []int32
		for _, s := range signs {
			if found, err := c.tokens.Tokenize(s); err == nil && len(found) == 1 {
				ids = append(ids, found[0])
			}
		}
		return func(id int32) bool { return slices.Contains(ids, id) }
	}
	for _, is := range []func(int32) bool{sign("."), sign(".", ",", ";", ":"), c.tokens.EndsWord} {
		if at := ends(is); at > 0 {
			return at
		}
	}
	return most
}
