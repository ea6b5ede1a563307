package tokenizer

import (
	"errors"
	"fmt"
)

// bpe is a byte-pair encoding: a vocabulary and the ranked merges that build its tokens from bytes.
type bpe struct {
	tokens []string       // by id
	symbol [2][256]int32  // id of a byte inside a word and at its end, the unknown token's if it has none
	merges map[pair]merge // what two neighbours merge to
	merged []int32        // id by rank
}

type pair struct{ left, right int32 }

type merge struct{ rank, id int32 }

// newBPE checks that the ids are 0 … len(vocab)-1, that every merge is of the vocabulary and that the unknown token
// is there if a byte needs it. The error of a merge is a *mergeError.
func newBPE(vocab map[string]int32, merges [][2]string, unknown string) (*bpe, error) {
	m := &bpe{
		tokens: make([]string, len(vocab)),
		merges: make(map[pair]merge, len(merges)),
		merged: make([]int32, len(merges)),
	}
	if len(vocab) == 0 {
		return nil, errors.New("the vocabulary is empty")
	}
	taken := make([]bool, len(vocab))
	for token, id := range vocab {
		if id < 0 || int(id) >= len(vocab) {
			return nil, fmt.Errorf("token %q has id %d, want one of 0 to %d as there are %d tokens", token, id, len(vocab)-1, len(vocab))
		}
		if taken[id] {
			return nil, fmt.Errorf("id %d is given to two tokens, %q and %q", id, min(m.tokens[id], token), max(m.tokens[id], token))
		}
		taken[id], m.tokens[id] = true, token
	}

	unknownID, hasUnknown := vocab[unknown]
	for b, r := range byteSymbols {
		for end, token := range []string{string(r), string(r) + endOfWord} {
			id, ok := vocab[token]
			if !ok {
				if !hasUnknown {
					return nil, fmt.Errorf("byte %#02x has no token (%q) and the unknown token %q is not in the vocabulary either", b, token, unknown)
				}
				id = unknownID
			}
			m.symbol[end][b] = id
		}
	}

	for rank, parts := range merges {
		var ids [3]int32
		for i, token := range []string{parts[0], parts[1], parts[0] + parts[1]} {
			id, ok := vocab[token]
			if !ok {
				return nil, &mergeError{rank, fmt.Errorf("merge of %q and %q: token %q is not in the vocabulary", parts[0], parts[1], token)}
			}
			ids[i] = id
		}
		m.merges[pair{ids[0], ids[1]}] = merge{int32(rank), ids[2]}
		m.merged[rank] = ids[2]
	}
	return m, nil
}

// mergeError is an error about the merge of one rank.
type mergeError struct {
	rank int
	err  error
}

func (e *mergeError) Error() string { return fmt.Sprintf("merge %d: %v", e.rank, e.err) }

func (e *mergeError) Unwrap() error { return e.err }

// word is the scratch memory for encoding one word: a doubly linked list of symbols and a heap of merges to try.
// Its zero value is ready; it may be used again for the next word.
type word struct {
	symbols []symbol
	queue   mergeQueue
}

type symbol struct {
	id         int32 // gone once it is merged into the symbol before it
	prev, next int32 // -1 at the ends
}

const gone = -1

// encode appends the ids of one word, which is not empty. It takes time n log n in the word's length.
func (m *bpe) encode(ids []int32, text string, w *word) []int32 {
	n := int32(len(text))
	w.symbols, w.queue = w.symbols[:0], w.queue[:0]
	for i := range n {
		end := 0
		if i == n-1 {
			end = 1
		}
		w.symbols = append(w.symbols, symbol{m.symbol[end][text[i]], i - 1, i + 1})
	}
	w.symbols[n-1].next = -1
	for i := range n - 1 {
		m.enqueue(w, i)
	}

	for len(w.queue) > 0 {
		rank, at := w.queue.pop()
		left := &w.symbols[at]
		if left.id == gone || left.next < 0 {
			continue
		}
		// An entry whose pair has changed is skipped unless the new pair merges to the same token: the reference
		// compares the tokens, not the ranks.
		right := &w.symbols[left.next]
		now, ok := m.merges[pair{left.id, right.id}]
		if !ok || now.id != m.merged[rank] {
			continue
		}
		left.id, right.id = now.id, gone
		left.next = right.next
		if left.next >= 0 {
			w.symbols[left.next].prev = at
			m.enqueue(w, at)
		}
		if left.prev >= 0 {
			m.enqueue(w, left.prev)
		}
	}

	for i := int32(0); i >= 0; i = w.symbols[i].next {
		ids = append(ids, w.symbols[i].id)
	}
	return ids
}

// enqueue queues the merge of the symbol at i with the one after it, if there is one.
func (m *bpe) enqueue(w *word, i int32) {
	s := w.symbols[i]
	if found, ok := m.merges[pair{s.id, w.symbols[s.next].id}]; ok {
		w.queue.push(found.rank, i)
	}
}

// mergeQueue is a binary heap of rank and position, the lowest rank first and of one rank the leftmost.
type mergeQueue []uint64

func (q *mergeQueue) push(rank, at int32) {
	h := append(*q, uint64(rank)<<32|uint64(at))
	for i := len(h) - 1; i > 0; {
		parent := (i - 1) / 2
		if h[parent] <= h[i] {
			break
		}
		h[parent], h[i] = h[i], h[parent]
		i = parent
	}
	*q = h
}

func (q *mergeQueue) pop() (rank, at int32) {
	h := *q
	top, last := h[0], len(h)-1
	h[0] = h[last]
	h = h[:last]
	for i := 0; ; {
		child := 2*i + 1
		if child >= last {
			break
		}
		if child+1 < last && h[child+1] < h[child] {
			child++
		}
		if h[i] <= h[child] {
			break
		}
		h[i], h[child] = h[child], h[i]
		i = child
	}
	*q = h
	return int32(top >> 32), int32(top & 0xFFFFFFFF)
}
