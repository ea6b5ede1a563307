package drivertest

import "github.com/goxl/goxl/kernels/cuda/driver"

// entry is a function of the fake.
type entry struct {
	name      string
	arguments int
	inContext bool // fails unless a context is current
	do        func(*Fake, *invocation) driver.Result
}

// functions is filled by init because its members refer to it through Fake.Call.
var functions []entry

func init() {
	functions = []entry{
		{"cuDriverGetVersion", 1, false, func(f *Fake, i *invocation) driver.Result {
			*at[driver.Version](i.args[0]) = f.Version
			return driver.Success
		}},
		{"cuInit", 1, false, func(f *Fake, i *invocation) driver.Result {
			if len(f.Devices) == 0 {
				return driver.NoDevice
			}
			return driver.Success
		}},
		{"cuDeviceGetCount", 1, false, func(f *Fake, i *invocation) driver.Result {
			*at[int32](i.args[0]) = int32(len(f.Devices))
			return driver.Success
		}},
		{"cuDeviceGet", 2, false, getDevice},
		{"cuDeviceGetName", 3, false, deviceName},
		{"cuDeviceGetAttribute", 3, false, deviceAttribute},
		{"cuDeviceTotalMem_v2", 2, false, func(f *Fake, i *invocation) driver.Result {
			*at[int64](i.args[0]) = f.Devices[i.args[1]].Memory
			return driver.Success
		}},
		{"cuCtxCreate_v2", 3, false, createContext},
		{"cuCtxDestroy_v2", 1, false, destroyContext},
		{"cuCtxSetCurrent", 1, false, setCurrent},
		{"cuCtxSynchronize", 0, true, done},
		{"cuMemGetInfo_v2", 2, true, memoryInfo},
		{"cuMemAlloc_v2", 2, true, allocate},
		{"cuMemFree_v2", 1, true, destroys(memory)},
		{"cuMemHostAlloc", 3, true, allocateHost},
		{"cuMemFreeHost", 1, true, destroys(host)},
		{"cuMemcpyHtoDAsync_v2", 4, true, transfer(true, false)},
		{"cuMemcpyDtoHAsync_v2", 4, true, transfer(false, true)},
		{"cuMemcpyDtoDAsync_v2", 4, true, transfer(true, true)},
		{"cuMemsetD8Async", 4, true, fill(1)},
		{"cuMemsetD32Async", 4, true, fill(4)},
		{"cuModuleLoadDataEx", 5, true, loadModule},
		{"cuModuleUnload", 1, true, destroys(module)},
		{"cuModuleGetFunction", 3, true, moduleFunction},
		{"cuFuncGetAttribute", 3, true, functionAttribute},
		{"cuFuncSetAttribute", 3, true, setFunctionAttribute},
		{"cuFuncGetParamInfo", 4, true, parameterInfo},
		{"cuStreamCreateWithPriority", 3, true, creates(stream)},
		{"cuStreamDestroy_v2", 1, true, destroys(stream)},
		{"cuStreamSynchronize", 1, true, synchronizeStream},
		{"cuStreamWaitEvent", 3, true, waitEvent},
		{"cuEventCreate", 2, true, creates(event)},
		{"cuEventDestroy_v2", 1, true, destroys(event)},
		{"cuEventRecord", 2, true, recordEvent},
		{"cuEventSynchronize", 1, true, useEvent},
		{"cuEventQuery", 1, true, useEvent},
		{"cuEventElapsedTime", 3, true, elapsed},
		{"cuLaunchKernel", 11, true, launchKernel},
		{"cuStreamBeginCapture_v2", 2, true, beginCapture},
		{"cuStreamEndCapture", 2, true, endCapture},
		{"cuGraphInstantiate_v2", 5, true, instantiate},
		{"cuGraphLaunch", 2, true, launchGraph},
		{"cuGraphDestroy", 1, true, destroys(graph)},
		{"cuGraphExecDestroy", 1, true, destroys(graphExec)},
		{"cuTensorMapEncodeTiled", 12, true, encodeMap},
		{"cuTensorMapEncodeIm2col", 15, true, encodeMap},
	}
}

func done(*Fake, *invocation) driver.Result { return driver.Success }

// creates returns a function that makes an object and stores its handle where its first argument points.
func creates(k kind) func(*Fake, *invocation) driver.Result {
	return func(f *Fake, i *invocation) driver.Result {
		return f.add(i, at[uintptr](i.args[0]), &object{kind: k})
	}
}

func functionAttribute(f *Fake, i *invocation) driver.Result {
	o, r := f.get(i, 2, function)
	if r != driver.Success {
		return r
	}
	values := map[uintptr]int{0: 1024, 1: 0, 3: 0, 4: 64, 8: o.dynamicShared}
	v, ok := values[i.args[1]]
	if !ok {
		return f.problem(i.name, driver.InvalidValue, "attribute %d is unknown to the fake", i.args[1])
	}
	*at[int32](i.args[0]) = int32(v)
	return driver.Success
}

func setFunctionAttribute(f *Fake, i *invocation) driver.Result {
	o, r := f.get(i, 0, function)
	if r != driver.Success {
		return r
	}
	switch n := int(i.args[2]); {
	case i.args[1] == 8 && 0 <= n && n <= f.Devices[i.context.device].SharedPerBlock:
		o.dynamicShared = n
	case i.args[1] == 9 && 0 <= n && n <= 100: // a wish, which the fake has no use for
	default:
		return f.problem(i.name, driver.InvalidValue, "attribute %d is %d", i.args[1], n)
	}
	return driver.Success
}

func parameterInfo(f *Fake, i *invocation) driver.Result {
	o, r := f.get(i, 0, function)
	if r != driver.Success {
		return r
	}
	sizes := f.Kernels[o.name]
	if i.args[1] >= uintptr(len(sizes)) {
		return driver.InvalidValue
	}
	*at[uint64](i.args[3]) = uint64(sizes[i.args[1]])
	return driver.Success
}

// encodeMap checks the alignment and writes the address and the rank in place of the opaque content.
func encodeMap(f *Fake, i *invocation) driver.Result {
	if i.args[0]%128 != 0 {
		return f.problem(i.name, driver.InvalidValue, "the map is at %#x, want a multiple of 128", i.args[0])
	}
	m := at[driver.TensorMap](i.args[0])
	m[0], m[1] = uint64(i.args[3]), uint64(i.args[2])
	return driver.Success
}
