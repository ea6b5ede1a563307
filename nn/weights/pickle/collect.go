package pickle

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"unicode/utf8"
)

// collector flattens dictionaries of tensors.
type collector struct {
	file  *File
	seen  map[string]bool
	steps int
}

// collect returns the tensors of a file by their names. Of a checkpoint with a "state_dict" that counts, and of a
// dictionary around a single one the inner one, as ComfyUI has it. What is no tensor is ignored.
func collect(root value) (*File, *Error) {
	outer, ok := root.(*dict)
	if !ok {
		return nil, &Error{What: "the file holds " + kind(root), Allowed: "a dictionary of tensors"}
	}
	c := &collector{file: &File{Values: map[string]string{}}, seen: map[string]bool{}}
	c.scalars(outer)
	inner := outer
	if d, ok := outer.get("state_dict"); ok {
		if d, ok := d.(*dict); ok {
			inner = d
		}
	} else if len(outer.keys) == 1 && outer.keys[0] != value("string_to_param") { // that is a textual inversion's
		if d, ok := outer.values[0].(*dict); ok {
			inner = d
		}
	}
	if err := c.tensors(inner, "", 0); err != nil {
		return nil, err
	}
	slices.SortFunc(c.file.Tensors, func(a, b Tensor) int { return cmp.Compare(a.Name, b.Name) })
	return c.file, nil
}

// scalars keeps the strings and numbers of the outermost dictionary.
func (c *collector) scalars(d *dict) {
	const longest, most = 1024, 1000
	for i, k := range d.keys {
		key, ok := k.(string)
		if !ok || len(key) > maxName || len(c.file.Values) == most {
			continue
		}
		switch v := d.values[i].(type) {
		case string:
			if len(v) <= longest {
				c.file.Values[key] = v
			}
		case bool, int64, float64:
			c.file.Values[key] = fmt.Sprint(v)
		}
	}
}

// tensors adds the tensors of a dictionary. Where a key is set twice the last one counts, as in Python.
func (c *collector) tensors(d *dict, prefix string, depth int) *Error {
	if depth > maxDepth {
		return &Error{What: "dictionaries lie in one another, or in themselves, under " + quote(prefix), Allowed: fmt.Sprintf("at most %d deep", maxDepth)}
	}
	last := map[string]int{}
	for i, k := range d.keys {
		switch k := k.(type) {
		case string:
			last[k] = i
		case int64:
			last[strconv.FormatInt(k, 10)] = i
		}
		if c.steps++; c.steps > maxObjects {
			return errorf("the file has more than %d values in dictionaries", maxObjects)
		}
	}
	for key, i := range last {
		name := prefix + key
		switch v := d.values[i].(type) {
		case *dict:
			if err := c.tensors(v, name+".", depth+1); err != nil {
				return err
			}
		case *tensor:
			if err := c.add(name, v); err != nil {
				return err
			}
		}
	}
	return nil
}

func (c *collector) add(name string, t *tensor) *Error {
	switch {
	case len(name) > maxName || !utf8.ValidString(name):
		return &Error{What: fmt.Sprintf("tensor name %s of %d bytes", quote(name), len(name)), Allowed: fmt.Sprintf("UTF-8 of at most %d bytes", maxName)}
	case c.seen[name]:
		return &Error{Tensor: name, What: "the file has two tensors of this name"}
	case len(c.file.Tensors) == maxTensors:
		return &Error{What: "the file has too many tensors", Allowed: fmt.Sprintf("at most %d", maxTensors)}
	}
	c.seen[name] = true
	out := Tensor{Name: name, DType: t.dtype, Size: elementSizes[t.dtype], Shape: t.shape, Strides: t.strides, Offset: -1}
	if t.end > t.first {
		out.Data = t.buf.data[t.first:t.end:t.end]
		if t.buf.offset >= 0 {
			out.Offset = t.buf.offset + t.first
		}
	}
	c.file.Tensors = append(c.file.Tensors, out)
	return nil
}
