// Package weights finds, checks and reads the tensors of a model.
//
// Every kind of weights is a [kernels.Source]: one memory-mapped file ([Open]), safetensors or what torch.save writes,
// a component of a model folder in diffusers layout, whole or sharded ([Folder.Component]), what a file of quantised
// weights stands for ([Dequantise]), a file embedded in the program ([Parse]), tensors in memory ([FromMap]) and
// synthetic weights computed from their names ([Synthetic]). [Rename] changes the names of a source, [Equal] reports
// whether two are the same weights, [Write] and [Encode] write one, [Recognise] says what a path holds, and
// [ParseConfig] reads a component's config.json.
//
// It reads what the reference implementations read: a file may have every element type of the format, float64 is
// rounded to float32, float8 widened to float16, the content of shards counts and not their index, and a hub cache
// entry is its snapshot. Of a pickle no code is run, see package pickle. The error about a file of another format, a
// Git LFS pointer say, names that format. [Bounds] checks a configuration's counts against the tensors before anything
// is allocated for them.
//
// Packages below read what files hold beyond single tensors: singlefile a whole checkpoint, as if it were a folder;
// lora adapters, which it merges into other weights; embedding textual inversions; pickle what torch.save wrote.
// Package hub downloads models.
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
// program truncates meanwhile faults when it is read. Package nn binds weights to a model, and checks names and shapes.
package weights
