package driver

import (
	"errors"
	"fmt"
	"reflect"
	"unsafe"
)

// arguments are a kernel's parameters, packed once: the driver wants an array of pointers to their values and copies the values
// at every launch.
type arguments struct {
	values []unsafe.Pointer // into one block, each at a multiple of 16: kernelParams of cuLaunchKernel
	types  []reflect.Type
}

// maxParameters is the size in bytes that a kernel's parameters may have in all.
const maxParameters = 4096

// pack copies the values. Each is of a fixed size without pointers, laid out as in C: numbers of a stated width, Ptr, TensorMap,
// arrays and structs of these.
func pack(values []any) (arguments, error) {
	var a arguments
	size := 0
	offsets := make([]int, len(values))
	for i, v := range values {
		t := reflect.TypeOf(v)
		if err := plain(t); err != nil {
			return a, fmt.Errorf("argument %d: %w", i, err)
		}
		a.types = append(a.types, t)
		offsets[i] = size
		size += (int(t.Size()) + 15) &^ 15
	}
	if size > maxParameters {
		return a, fmt.Errorf("arguments have %d bytes, want at most %d", size, maxParameters)
	}
	data := make([]byte, max(size, 1))
	for i, v := range values {
		box := reflect.New(a.types[i])
		box.Elem().Set(reflect.ValueOf(v))
		copy(data[offsets[i]:], unsafe.Slice((*byte)(box.UnsafePointer()), a.types[i].Size()))
		a.values = append(a.values, unsafe.Pointer(&data[offsets[i]]))
	}
	return a, nil
}

// plain reports why values of type t cannot be passed to a kernel, or nil.
func plain(t reflect.Type) error {
	if t == nil {
		return errors.New("value is nil")
	}
	switch t.Kind() {
	case reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64,
		reflect.Float32, reflect.Float64:
		return nil
	case reflect.Array:
		if t.Len() > 0 {
			return plain(t.Elem())
		}
	case reflect.Struct:
		for i := range t.NumField() {
			if err := plain(t.Field(i).Type); err != nil {
				return fmt.Errorf("field %s: %w", t.Field(i).Name, err)
			}
		}
		if t.Size() > 0 {
			return nil
		}
	}
	return fmt.Errorf("type is %v, want numbers of a stated width, driver.Ptr, driver.TensorMap, or arrays and structs of these", t)
}

// check compares the arguments with what the kernel was compiled for, if the driver reports it (CUDA 12.4): a launch with too few
// of them would read beyond the array.
func (a *arguments) check(f *Function) error {
	d := f.context.driver
	if d.functions[cuFuncGetParamInfo] == 0 {
		return nil
	}
	for i := range len(a.types) + 1 {
		var offset, size uint64
		err := f.context.call(cuFuncGetParamInfo, f.handle, uintptr(i), uintptr(unsafe.Pointer(&offset)), uintptr(unsafe.Pointer(&size)))
		switch end := errors.Is(err, InvalidValue); {
		case err != nil && !end:
			return err
		case end && i == len(a.types):
			return nil
		case end:
			return fmt.Errorf("%d arguments, want %d", len(a.types), i)
		case i == len(a.types):
			return fmt.Errorf("%d arguments, want more", i)
		case size != uint64(a.types[i].Size()):
			return fmt.Errorf("argument %d (%v) has %d bytes, want %d", i, a.types[i], a.types[i].Size(), size)
		}
	}
	return nil
}
