package driver

// symbol is a function of libcuda, an index into Driver.functions.
type symbol uint8

const (
	cuDriverGetVersion symbol = iota
	cuInit
	cuDeviceGetCount
	cuDeviceGet
	cuDeviceGetName
	cuDeviceGetAttribute
	cuDeviceTotalMem
	cuCtxCreate
	cuCtxDestroy
	cuCtxSetCurrent
	cuCtxSynchronize
	cuMemGetInfo
	cuMemAlloc
	cuMemFree
	cuMemHostAlloc
	cuMemFreeHost
	cuMemcpyHtoDAsync
	cuMemcpyDtoHAsync
	cuMemcpyDtoDAsync
	cuMemsetD8Async
	cuMemsetD32Async
	cuModuleLoadDataEx
	cuModuleUnload
	cuModuleGetFunction
	cuFuncGetAttribute
	cuFuncSetAttribute
	cuStreamCreateWithPriority
	cuStreamDestroy
	cuStreamSynchronize
	cuStreamWaitEvent
	cuEventCreate
	cuEventDestroy
	cuEventRecord
	cuEventSynchronize
	cuEventQuery
	cuEventElapsedTime
	cuLaunchKernel
	cuStreamBeginCapture
	cuStreamEndCapture
	cuGraphInstantiate
	cuGraphLaunch
	cuGraphDestroy
	cuGraphExecDestroy

	cuTensorMapEncodeTiled
	cuTensorMapEncodeIm2col
	cuFuncGetParamInfo

	symbolCount
)

// required lists the functions without which Open fails. The names carry the ABI version: the signature behind each is the one it
// had in CUDA 11.0, in every driver since (cuda.h of 13.2 declares the older ones under __CUDA_API_VERSION_INTERNAL).
var required = map[symbol]string{
	cuDriverGetVersion:         "cuDriverGetVersion",
	cuInit:                     "cuInit",
	cuDeviceGetCount:           "cuDeviceGetCount",
	cuDeviceGet:                "cuDeviceGet",
	cuDeviceGetName:            "cuDeviceGetName",
	cuDeviceGetAttribute:       "cuDeviceGetAttribute",
	cuDeviceTotalMem:           "cuDeviceTotalMem_v2",
	cuCtxCreate:                "cuCtxCreate_v2",
	cuCtxDestroy:               "cuCtxDestroy_v2",
	cuCtxSetCurrent:            "cuCtxSetCurrent",
	cuCtxSynchronize:           "cuCtxSynchronize",
	cuMemGetInfo:               "cuMemGetInfo_v2",
	cuMemAlloc:                 "cuMemAlloc_v2",
	cuMemFree:                  "cuMemFree_v2",
	cuMemHostAlloc:             "cuMemHostAlloc",
	cuMemFreeHost:              "cuMemFreeHost",
	cuMemcpyHtoDAsync:          "cuMemcpyHtoDAsync_v2",
	cuMemcpyDtoHAsync:          "cuMemcpyDtoHAsync_v2",
	cuMemcpyDtoDAsync:          "cuMemcpyDtoDAsync_v2",
	cuMemsetD8Async:            "cuMemsetD8Async",
	cuMemsetD32Async:           "cuMemsetD32Async",
	cuModuleLoadDataEx:         "cuModuleLoadDataEx",
	cuModuleUnload:             "cuModuleUnload",
	cuModuleGetFunction:        "cuModuleGetFunction",
	cuFuncGetAttribute:         "cuFuncGetAttribute",
	cuFuncSetAttribute:         "cuFuncSetAttribute",
	cuStreamCreateWithPriority: "cuStreamCreateWithPriority",
	cuStreamDestroy:            "cuStreamDestroy_v2",
	cuStreamSynchronize:        "cuStreamSynchronize",
	cuStreamWaitEvent:          "cuStreamWaitEvent",
	cuEventCreate:              "cuEventCreate",
	cuEventDestroy:             "cuEventDestroy_v2",
	cuEventRecord:              "cuEventRecord",
	cuEventSynchronize:         "cuEventSynchronize",
	cuEventQuery:               "cuEventQuery",
	cuEventElapsedTime:         "cuEventElapsedTime",
	cuLaunchKernel:             "cuLaunchKernel",
	cuStreamBeginCapture:       "cuStreamBeginCapture_v2",
	cuStreamEndCapture:         "cuStreamEndCapture",
	cuGraphInstantiate:         "cuGraphInstantiate_v2",
	cuGraphLaunch:              "cuGraphLaunch",
	cuGraphDestroy:             "cuGraphDestroy",
	cuGraphExecDestroy:         "cuGraphExecDestroy",
}

// optional lists the functions that came later, with the CUDA version that brought them.
var optional = map[symbol]struct {
	name  string
	since Version
}{
	cuTensorMapEncodeTiled:  {"cuTensorMapEncodeTiled", 12000},
	cuTensorMapEncodeIm2col: {"cuTensorMapEncodeIm2col", 12000},
	cuFuncGetParamInfo:      {"cuFuncGetParamInfo", 12040},
}

// String is the name in libcuda.
func (s symbol) String() string {
	if name, ok := required[s]; ok {
		return name
	}
	return optional[s].name
}
