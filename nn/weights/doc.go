// Package weights finds, checks and yields the tensors of a model.
//
// Every kind of weights is a [kernels.Source]: one memory-mapped safetensors file ([Open]), a component of a model folder in
// diffusers layout, whole or sharded ([Folder.Component]), a file embedded in the program ([Parse]), tensors in memory
// ([FromMap]) and synthetic weights computed from their names ([Synthetic]). [Rename] changes the names of a source, [Equal]
// tells whether two are the same weights, [Write] and [Encode] write one, [Recognise] says what a path holds, and
// [ParseConfig] reads a component's config.json.
//
// What is read is what the reference implementations read: every element type of the format may be in a file, float64
// is rounded to float32, shards count as they are and not as their index says, and a hub cache entry stands for its
// snapshot. What is no safetensors file, a Git LFS pointer or a pickle say, is named. [Bounds] checks a configuration's
// counts against the tensors before anything is allocated for them.
//
//	folder, err := weights.OpenFolder("sdxl-base")
//	...
//	unet, err := folder.Component("unet", weights.Variant{Precision: kernels.F16})
//	...
//	defer unet.Close()
//	dtype, shape, data, err := unet.Tensor("conv_in.weight")
//
// # Caveats
//
// The data of a mapped tensor is the file: it is valid until Close, must not be written to, and a file that another
// program shortens meanwhile faults when it is read. Nothing here binds weights to a model: package nn does, and checks names and shapes.
package weights
