// Package singlefile opens whole SDXL checkpoints in one file, as trainers and ComfyUI write them, as if they were
// model folders in diffusers' layout: a view of the file's tensors under diffusers' names for each component, and the
// configurations, which such a file does not hold, from its shapes. The file is a safetensors file, the index of its
// shards, or what torch.save wrote.
//
// Nothing is copied: names are looked up, the thirds of OpenCLIP's fused in_proj are rows of the mapped tensor, and
// only a transposed text_projection is made when it is read.
//
// Sources: diffusers 0.42 loaders/single_file_utils.py, ComfyUI comfy/utils.py, model_detection.py and
// supported_models.py, OpenCLIP and generative-models for the original names.
package singlefile
