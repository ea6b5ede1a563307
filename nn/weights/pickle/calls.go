package pickle

import "fmt"

// calls are the functions and classes that a pickle may call, by their full names, and what they give. Builtins are
// named as Python 3 and as Python 2 names them, numpy's as before and after numpy 2.
var calls map[string]func(args tuple) (value, *Error)

func init() { // _rebuild_from_type_v2 calls others of them
	calls = map[string]func(args tuple) (value, *Error){
		"collections.OrderedDict": newDict, "builtins.dict": newDict, "__builtin__.dict": newDict,
		"collections.defaultdict": func(args tuple) (value, *Error) { return newDict(args[min(1, len(args)):]) },
		"collections.Counter":     newDict,
		"builtins.set":            newList, "__builtin__.set": newList, "builtins.frozenset": newList, "builtins.list": newList,

		"torch._utils._rebuild_tensor":               rebuildTensor,
		"torch._utils._rebuild_tensor_v2":            rebuildTensor,
		"torch._utils._rebuild_tensor_v3":            rebuildUntyped,
		"torch._utils._rebuild_parameter":            firstTensor,
		"torch._utils._rebuild_parameter_with_state": firstTensor,
		"torch._tensor._rebuild_from_type_v2":        rebuildFromType,
		"torch.Size":                                 newSize,
		"torch.device":                               skip,
		"torch.nn.modules.container.ParameterDict":   newDict,
		"numpy.core.multiarray.scalar":               skip,
		"numpy._core.multiarray.scalar":              skip,
		"numpy.core.multiarray._reconstruct":         skip, "numpy._core.multiarray._reconstruct": skip,
		"numpy.dtype":    skip,
		"_codecs.encode": skip,
	}
}

// call gives the result of a function, and refuses every one that is not known.
func call(f *global, args tuple) (value, *Error) {
	known := calls[f.String()]
	if known == nil {
		return nil, &Error{What: fmt.Sprintf("the pickle calls %s: refused", quoteName(f.String())),
			Allowed: "tensors, numbers, strings, lists and dictionaries; no code of a file is run"}
	}
	return known(args)
}

// quoteName shows the name of a function as it is, or quoted if it has characters that no name has.
func quoteName(name string) string {
	for _, r := range name {
		if r != '.' && r != '_' && (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z') {
			return quote(name)
		}
	}
	return quote(name)[1 : len(quote(name))-1]
}

// build sets the state of an object, which none of the objects here needs but a dictionary of parameters.
func build(v, state value) *Error {
	switch v := v.(type) {
	case *dict: // a ParameterDict is a module; an OrderedDict with attributes is a state dict with versions
		attributes, ok := state.(*dict)
		if !ok {
			return nil
		}
		if parameters, ok := attributes.get("_parameters"); ok {
			if p, ok := parameters.(*dict); ok {
				v.keys, v.values = append(v.keys, p.keys...), append(v.values, p.values...)
			}
		}
		return nil
	case *tensor, opaque:
		return nil
	}
	return errorf("the pickle sets the state of %s: refused", kind(v))
}

// newDict is a dictionary of no arguments, of another dictionary, or of pairs.
func newDict(args tuple) (value, *Error) {
	d := &dict{}
	if len(args) == 0 {
		return d, nil
	}
	var pairs []value
	switch items := args[0].(type) {
	case *dict:
		d.keys, d.values = append(d.keys, items.keys...), append(d.values, items.values...)
		return d, nil
	case *list:
		pairs = items.items
	case tuple:
		pairs = items
	case *global: // the class of a defaultdict's values
		return d, nil
	}
	for _, p := range pairs {
		var key, v value
		switch p := p.(type) {
		case tuple:
			if len(p) == 2 {
				key, v = p[0], p[1]
			}
		case *list:
			if len(p.items) == 2 {
				key, v = p.items[0], p.items[1]
			}
		}
		if key == nil {
			return nil, errorf("the pickle is damaged: a dictionary of items that are no pairs")
		}
		d.set(key, v)
	}
	return d, nil
}

func newList(args tuple) (value, *Error) {
	l := &list{}
	if len(args) > 0 {
		switch items := args[0].(type) {
		case *list:
			l.items = append(l.items, items.items...)
		case tuple:
			l.items = append(l.items, items...)
		}
	}
	return l, nil
}

func newSize(args tuple) (value, *Error) {
	l, err := newList(args)
	if err != nil {
		return nil, err
	}
	return tuple(l.(*list).items), nil
}

func skip(tuple) (value, *Error) { return opaque{}, nil }

// firstTensor gives the tensor that a parameter wraps.
func firstTensor(args tuple) (value, *Error) {
	if len(args) > 0 {
		if t, ok := args[0].(*tensor); ok {
			return t, nil
		}
	}
	return nil, errorf("the pickle is damaged: a parameter that is no tensor")
}

// plainTypes are the classes of tensors that are nothing but a tensor.
var plainTypes = map[string]bool{"torch.Tensor": true, "torch.nn.parameter.Parameter": true, "torch.nn.parameter.Buffer": true}

// rebuildFromType calls a function that makes a tensor, of which a class is made.
func rebuildFromType(args tuple) (value, *Error) {
	if len(args) >= 3 {
		f, ok := args[0].(*global)
		class, ok2 := args[1].(*global)
		inner, ok3 := args[2].(tuple)
		if ok && ok2 && ok3 {
			if !plainTypes[class.String()] {
				return nil, &Error{What: "the pickle has a tensor of class " + quoteName(class.String()) + ": refused", Allowed: "torch.Tensor, torch.nn.parameter.Parameter"}
			}
			if f.String() == "torch._tensor._rebuild_from_type_v2" {
				return nil, errorf("the pickle is damaged: a tensor that is made of itself")
			}
			return call(f, inner)
		}
	}
	return nil, errorf("the pickle is damaged: a tensor of a class without its parts")
}
