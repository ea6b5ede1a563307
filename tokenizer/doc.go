// Package tokenizer turns prompts into the token ids of CLIP's text encoders.
//
// It is CLIP's byte-level byte-pair encoding as transformers 5 defines it (class CLIPTokenizer, backed by the
// tokenizers library), identical to it id for id: special and added tokens are split off the raw text; the rest is
// normalised (Unicode NFC, white space to single spaces, lower case) and pre-tokenized into words, and each word's
// bytes are merged by rank. Bos and eos enclose at most MaxLength-2 ids, and the padding id fills the sequence.
//
//	https://github.com/huggingface/transformers/blob/v5.23.0/src/transformers/models/clip/tokenization_clip.py
//
// [Load] reads a tokenizer folder of a model in diffusers' layout, [CLIP] needs no file. A [Tokenizer] is immutable:
// any number of goroutines may share one.
//
// The package has no prompt weighting, no styles (package prompt has) and no text clean-up (no ftfy, no HTML
// entities): neither has the
// reference.
package tokenizer
