package pickle

import (
	"fmt"
	"math"
	"slices"
	"strconv"
)

// buffer is the bytes of a storage, which views share.
type buffer struct {
	key    string
	size   int    // bytes that its views have
	data   []byte // nil until it is found
	offset int    // of data in the file, -1 if it is a copy
}

// storage is a typed view of a buffer.
type storage struct {
	buf    *buffer
	dtype  string // "" of bytes without a type
	offset int    // bytes
	count  int    // elements
}

// tensor is a view of a storage.
type tensor struct {
	buf            *buffer
	dtype          string
	shape, strides []int
	first, end     int // bytes of the buffer from the first element to the last one's end
}

// storageTypes are torch's classes of storages and the types of their elements.
var storageTypes = map[string]string{
	"torch.DoubleStorage": "F64", "torch.FloatStorage": "F32", "torch.HalfStorage": "F16", "torch.BFloat16Storage": "BF16",
	"torch.LongStorage": "I64", "torch.IntStorage": "I32", "torch.ShortStorage": "I16", "torch.CharStorage": "I8",
	"torch.ByteStorage": "U8", "torch.BoolStorage": "BOOL", "torch.ComplexFloatStorage": "C64", "torch.ComplexDoubleStorage": "C128",
	"torch.UntypedStorage": "", "torch.storage.UntypedStorage": "", "torch.storage._UntypedStorage": "",
}

// elementTypes are torch's element types.
var elementTypes = map[string]string{
	"torch.float64": "F64", "torch.float32": "F32", "torch.float16": "F16", "torch.bfloat16": "BF16", "torch.int64": "I64",
	"torch.int32": "I32", "torch.int16": "I16", "torch.int8": "I8", "torch.uint8": "U8", "torch.uint16": "U16", "torch.uint32": "U32",
	"torch.uint64": "U64", "torch.bool": "BOOL", "torch.complex64": "C64", "torch.complex128": "C128", "torch.float8_e4m3fn": "F8_E4M3",
	"torch.float8_e5m2": "F8_E5M2", "torch.float8_e8m0fnu": "F8_E8M0", "torch.float8_e4m3fnuz": "F8_E4M3FNUZ", "torch.float8_e5m2fnuz": "F8_E5M2FNUZ",
}

// elementSizes are the bytes of an element.
var elementSizes = map[string]int{"": 1, "F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "U16": 2,
	"U32": 4, "U64": 8, "BOOL": 1, "C64": 8, "C128": 16, "F8_E4M3": 1, "F8_E5M2": 1, "F8_E8M0": 1, "F8_E4M3FNUZ": 1, "F8_E5M2FNUZ": 1}

// storages are those that a pickle refers to, by key.
type storages struct {
	byKey map[string]*buffer
	// find returns where a storage lies; nil if that is known later only.
	find func(b *buffer) *Error
}

// load gives what a persistent id stands for: ('storage', class, key, location, elements[, view]), where a view is
// (key, first element, elements).
func (s *storages) load(id value) (value, *Error) {
	parts, _ := id.(tuple)
	if len(parts) < 5 || parts[0] != value("storage") {
		return nil, errorf("the pickle refers to something else than a storage")
	}
	class, ok := parts[1].(*global)
	key, ok2 := parts[2].(string)
	count, ok3 := parts[4].(int64)
	if !ok || !ok2 || !ok3 || len(key) > maxName || count < 0 || count > math.MaxInt/16 {
		return nil, errorf("the pickle is damaged: a storage of %s, key %s, %s elements", kind(parts[1]), kind(parts[2]), kind(parts[4]))
	}
	dtype, known := storageTypes[class.String()]
	if !known {
		return nil, &Error{What: "the pickle has a storage of class " + quoteName(class.String()) + ": refused", Allowed: "torch.FloatStorage and its like"}
	}
	item := elementSizes[dtype]
	b := s.byKey[key]
	if b == nil {
		b = &buffer{key: key, size: int(count) * item}
		s.byKey[key] = b
		if s.find != nil {
			if err := s.find(b); err != nil {
				return nil, err
			}
		}
	} else if b.size != int(count)*item {
		return nil, errorf("storage %s has %d bytes in one place and %d in another", quote(key), b.size, int(count)*item)
	}
	st := &storage{buf: b, dtype: dtype, count: int(count)}
	if len(parts) > 5 && parts[5] != nil {
		view, _ := parts[5].(tuple)
		if len(view) != 3 {
			return nil, errorf("the pickle is damaged: a view of a storage that is none")
		}
		first, ok := view[1].(int64)
		n, ok2 := view[2].(int64)
		if !ok || !ok2 || first < 0 || n < 0 || first > count || n > count-first {
			return nil, errorf("storage %s has a view beyond its %d elements", quote(key), count)
		}
		st.offset, st.count = int(first)*item, int(n)
	}
	return st, nil
}

// rebuildTensor is torch._utils._rebuild_tensor_v2(storage, storage_offset, size, stride, requires_grad, hooks[,
// metadata]), and _rebuild_tensor of its first four arguments.
func rebuildTensor(args tuple) (value, *Error) {
	if len(args) >= 4 {
		if s, ok := args[0].(*storage); ok {
			if s.dtype == "" {
				return nil, errorf("the pickle is damaged: a tensor without a type of elements")
			}
			return newTensor(s, s.dtype, args)
		}
	}
	return nil, errorf("the pickle is damaged: a tensor without a storage")
}

// rebuildUntyped is _rebuild_tensor_v3, with the type of elements as the seventh argument.
func rebuildUntyped(args tuple) (value, *Error) {
	if len(args) >= 7 {
		s, ok := args[0].(*storage)
		dtype, ok2 := args[6].(*global)
		if ok && ok2 {
			name, known := elementTypes[dtype.String()]
			if !known {
				return nil, &Error{What: "the pickle has a tensor of element type " + quoteName(dtype.String()), Allowed: "those of safetensors files"}
			}
			return newTensor(s, name, args)
		}
	}
	return nil, errorf("the pickle is damaged: a tensor without a storage or a type of elements")
}

// newTensor checks that a tensor lies in its storage. args are storage, offset, shape and strides.
func newTensor(s *storage, dtype string, args tuple) (*tensor, *Error) {
	offset, ok := args[1].(int64)
	shape, ok2 := sizes(args[2], maxDim)
	strides, ok3 := sizes(args[3], math.MaxInt64)
	if !ok || !ok2 || !ok3 || offset < 0 || len(shape) != len(strides) || len(shape) > maxRank {
		first := kind(args[1])
		if ok {
			first = strconv.FormatInt(offset, 10)
		}
		return nil, &Error{What: fmt.Sprintf("the pickle has a tensor of shape %v with strides %v from element %s on", shortened(shape), shortened(strides), first),
			Allowed: fmt.Sprintf("at most %d dimensions from 0 to %d, strides and a first element from 0 on", maxRank, maxDim)}
	}
	item := elementSizes[dtype]
	have := s.count * elementSizes[s.dtype] / item
	t := &tensor{buf: s.buf, dtype: dtype, shape: shape}
	if slices.Contains(shape, 0) {
		return t, nil
	}
	beyond := errorf("a tensor of shape %v, strides %v, from element %d on, does not lie in its storage %s of %d elements", shape, strides, offset, quote(s.buf.key), have)
	if offset >= int64(have) {
		return nil, beyond
	}
	last, count := int(offset), 1
	for i, d := range shape {
		if d > 1 && strides[i] > (have-1-last)/(d-1) {
			return nil, beyond
		}
		if d > 1 {
			last += (d - 1) * strides[i]
		}
		if count > math.MaxInt/16/d {
			return nil, errorf("a tensor of shape %v is larger than any file", shape)
		}
		count *= d
	}
	if count > have && count*item > maxExpanded {
		return nil, &Error{What: fmt.Sprintf("a tensor of shape %v repeats the %d elements of its storage %s", shape, have, quote(s.buf.key)),
			Allowed: fmt.Sprintf("up to %d bytes", maxExpanded)}
	}
	t.first, t.end = s.offset+int(offset)*item, s.offset+(last+1)*item
	if !inOrder(shape, strides) {
		t.strides = strides
	}
	return t, nil
}

// shortened is the dimensions that errors show.
func shortened(dims []int) []int { return dims[:min(len(dims), 2*maxRank)] }

// sizes reads a tuple or list of whole numbers from 0 to limit.
func sizes(v value, limit int64) ([]int, bool) {
	var items []value
	switch v := v.(type) {
	case tuple:
		items = v
	case *list:
		items = v.items
	default:
		return nil, false
	}
	out := make([]int, len(items))
	for i, item := range items {
		n, ok := item.(int64)
		if !ok || n < 0 || n > limit {
			return nil, false
		}
		out[i] = int(n)
	}
	return out, true
}

// inOrder reports whether the elements of a tensor follow each other.
func inOrder(shape, strides []int) bool {
	want := 1
	for i := len(shape) - 1; i >= 0; i-- {
		if shape[i] > 1 && strides[i] != want {
			return false
		}
		want *= shape[i]
	}
	return true
}
