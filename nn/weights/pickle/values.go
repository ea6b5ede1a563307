package pickle

// value is what the machine computes with: nil for None, bool, int64, float64, string, []byte, or one of the types
// below.
type value any

type (
	// tuple is a tuple, or a torch.Size.
	tuple []value
	// list is a list, a set or a frozenset.
	list struct{ items []value }
	// dict is a dictionary of any class.
	dict struct{ keys, values []value }
	// global is a function or class by its name, which is all that is known of it.
	global struct{ module, name string }
	// opaque is a value that no tensor depends on: a device, a number of numpy's.
	opaque struct{}
	// mark is where the arguments of an instruction begin on the stack.
	mark struct{}
)

func (g *global) String() string { return g.module + "." + g.name }

// get is the value of a key, the last one that was set.
func (d *dict) get(key string) (value, bool) {
	for i := len(d.keys) - 1; i >= 0; i-- {
		if d.keys[i] == value(key) {
			return d.values[i], true
		}
	}
	return nil, false
}

func (d *dict) set(key, v value) {
	d.keys = append(d.keys, key)
	d.values = append(d.values, v)
}

// length is how many items a container has.
func length(v value) int {
	switch v := v.(type) {
	case tuple:
		return len(v)
	case *list:
		return len(v.items)
	case *dict:
		return len(v.keys)
	}
	return 0
}

// kind names a value's type, for errors.
func kind(v value) string {
	switch v := v.(type) {
	case nil:
		return "None"
	case bool, int64, float64:
		return "a number"
	case string:
		return "a string"
	case []byte:
		return "bytes"
	case tuple:
		return "a tuple"
	case *list:
		return "a list"
	case *dict:
		return "a dictionary"
	case *tensor:
		return "a tensor"
	case *storage:
		return "a storage"
	case *global:
		return v.String()
	}
	return "another object"
}
