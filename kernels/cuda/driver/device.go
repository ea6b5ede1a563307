package driver

import (
	"bytes"
	"fmt"
	"unsafe"
)

// Capability is a compute capability, such as 9.0.
type Capability struct{ Major, Minor int }

func (c Capability) String() string { return fmt.Sprintf("%d.%d", c.Major, c.Minor) }

// AtLeast reports whether c is major.minor or newer.
func (c Capability) AtLeast(major, minor int) bool {
	return c.Major > major || c.Major == major && c.Minor >= minor
}

// Device describes one device. Sizes in bytes.
type Device struct {
	Ordinal         int // from 0, as CUDA_VISIBLE_DEVICES orders them
	Name            string
	Capability      Capability
	Memory          int64
	Multiprocessors int
	SharedPerBlock  int // most that a block can have, static and dynamic, after SetMaxDynamicShared
	L2              int
	Driver          Version

	driver *Driver
	handle int32
}

// CUdevice_attribute of cuda.h.
const (
	attributeMultiprocessors = 16
	attributeL2              = 38
	attributeMajor           = 75
	attributeMinor           = 76
	attributeSharedPerBlock  = 97
)

// Device returns device i, 0 ≤ i < Devices().
func (d *Driver) Device(i int) (*Device, error) {
	if i < 0 || i >= d.devices {
		return nil, fmt.Errorf("cuda: device is %d, the driver sees devices 0 to %d", i, d.devices-1)
	}
	v := &Device{Ordinal: i, Driver: d.version, driver: d}
	if err := d.call(cuDeviceGet, uintptr(unsafe.Pointer(&v.handle)), uintptr(i)); err != nil {
		return nil, err
	}
	var name [256]byte
	if err := d.call(cuDeviceGetName, uintptr(unsafe.Pointer(&name)), uintptr(len(name)), uintptr(v.handle)); err != nil {
		return nil, err
	}
	text, _, _ := bytes.Cut(name[:], []byte{0})
	v.Name = string(text)
	if err := d.call(cuDeviceTotalMem, uintptr(unsafe.Pointer(&v.Memory)), uintptr(v.handle)); err != nil {
		return nil, err
	}
	for _, a := range []struct {
		attribute uintptr
		to        *int
	}{
		{attributeMajor, &v.Capability.Major},
		{attributeMinor, &v.Capability.Minor},
		{attributeMultiprocessors, &v.Multiprocessors},
		{attributeSharedPerBlock, &v.SharedPerBlock},
		{attributeL2, &v.L2},
	} {
		var n int32
		if err := d.call(cuDeviceGetAttribute, uintptr(unsafe.Pointer(&n)), a.attribute, uintptr(v.handle)); err != nil {
			return nil, err
		}
		*a.to = int(n)
	}
	return v, nil
}
