package weights

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// IndexFile is the file that makes a folder a model's in diffusers' layout.
const IndexFile = indexFile

// pipelineComponents are the components that goxl reads, and whether they have weights.
var pipelineComponents = map[string]bool{
	"scheduler": false, "tokenizer": false, "tokenizer_2": false,
	"text_encoder": true, "text_encoder_2": true, "unet": true, "vae": true,
}

// PipelineFiles lists, of the files of a model in diffusers' layout by their slash-separated paths, those that goxl reads:
// model_index.json, goxl.json, the settings and vocabularies of its components, and one variant of their weights. A
// component of which something is missing is an error that names it.
func PipelineFiles(index Index, paths []string, v Variant) ([]string, error) {
	in := map[string][]string{}
	var chosen []string
	for _, p := range paths {
		dir, name := path.Split(p)
		in[strings.TrimSuffix(dir, "/")] = append(in[strings.TrimSuffix(dir, "/")], name)
		if p == indexFile || p == "goxl.json" {
			chosen = append(chosen, p)
		}
	}
	named := v.Name == "" || v.None
	for component, class := range index.Components {
		weighed, reads := pipelineComponents[component]
		if !reads || class == (Class{}) {
			continue
		}
		names := in[component]
		if len(names) == 0 {
			return nil, fmt.Errorf("%s lists the component %s, of which there is no file", indexFile, component)
		}
		for _, name := range names {
			text := strings.HasSuffix(name, ".json") || strings.HasSuffix(name, ".txt")
			if text && !strings.Contains(name, ".index.") && !strings.HasPrefix(name, "flax_") {
				chosen = append(chosen, path.Join(component, name))
			}
		}
		if !weighed {
			continue
		}
		if !slices.Contains(names, "config.json") {
			return nil, fmt.Errorf("the component %s has no config.json", component)
		}
		if v.None {
			continue
		}
		variant, files, err := chooseWeights(component, names, v)
		if err != nil {
			return nil, err
		}
		named = named || variant == v.Name
		for _, name := range files {
			chosen = append(chosen, path.Join(component, name))
		}
	}
	if !named {
		return nil, fmt.Errorf("no component has the variant %s", quote(v.Name))
	}
	slices.Sort(chosen)
	return slices.Compact(chosen), nil
}

// weightSet is a variant of a component's weights: one file, or an index and its shards.
type weightSet struct {
	whole, index string
	shards       map[int]string
	of           int // shards by their own count
}

// complete lists the files of a set, an index before a whole file as diffusers does; nil if some are missing.
func (s *weightSet) complete() []string {
	if s.index != "" && s.of > 0 && len(s.shards) == s.of {
		files := []string{s.index}
		for _, shard := range s.shards {
			files = append(files, shard)
		}
		return files
	}
	if s.whole != "" {
		return []string{s.whole}
	}
	return nil
}

// shardPlace is NAME[.VARIANT]-I-of-N, or, as older files are, NAME-I-of-N[.VARIANT].
var shardPlace = regexp.MustCompile(`^(?:([^.]+))?-(\d{1,6})-of-(\d{1,6})(?:\.([^.]+))?$`)

// chooseWeights chooses a component's variant as Variant.choose does, of those that are complete: of safetensors files, or
// where there are none of PyTorch's pickles.
func chooseWeights(component string, names []string, v Variant) (variant string, files []string, err error) {
	base := baseName(component)
	sets := weightSets(base, "safetensors", names)
	if len(sets) == 0 {
		sets = weightSets(pickleName(component), "bin", names)
	}
	var have []string
	for name, s := range sets {
		if s.complete() != nil {
			have = append(have, name)
		}
	}
	for _, name := range v.wanted() {
		if slices.Contains(have, name) {
			return name, sets[name].complete(), nil
		}
	}
	if len(have) == 1 && v.Name == "" {
		return have[0], sets[have[0]].complete(), nil
	}
	slices.Sort(have)
	switch {
	case len(have) > 0:
		return "", nil, fmt.Errorf("the component %s has no %s weights; choose a variant of: %s", component, listVariants(v.wanted()), listVariants(have))
	case len(sets) > 0:
		return "", nil, fmt.Errorf("the component %s lacks a part of its weights: must have all shards and their index", component)
	}
	return "", nil, fmt.Errorf("the component %s has no weights: must have %s[.variant].safetensors or its shards", component, base)
}

// weightSets finds the variants of the files that begin with a base name and end in a suffix.
func weightSets(base, suffix string, names []string) map[string]*weightSet {
	sets := map[string]*weightSet{}
	set := func(variant string) *weightSet {
		if sets[variant] == nil {
			sets[variant] = &weightSet{shards: map[int]string{}}
		}
		return sets[variant]
	}
	for _, name := range names {
		rest, ok := strings.CutPrefix(name, base)
		if !ok {
			continue
		}
		if v, ok := indexVariant(rest, suffix); ok {
			set(v).index = name
			continue
		}
		rest, ok = strings.CutSuffix(rest, "."+suffix)
		if !ok {
			continue
		}
		dotted := strings.TrimPrefix(rest, ".")
		if m := shardPlace.FindStringSubmatch(dotted); m != nil {
			i, _ := strconv.Atoi(m[2])
			n, _ := strconv.Atoi(m[3])
			s := set(m[1] + m[4])
			if i >= 1 && i <= n {
				s.shards[i], s.of = name, n
			}
			continue
		}
		if rest == "" || rest != dotted && !strings.Contains(dotted, ".") {
			set(dotted).whole = name
		}
	}
	return sets
}

// indexVariant is the variant of a shard index by what follows the base name; see weightForms.
func indexVariant(rest, suffix string) (string, bool) {
	rest, ok := strings.CutPrefix(rest, ".")
	if !ok {
		return "", false
	}
	forms := weightForms(suffix)
	for _, form := range forms[:2] {
		v, ok := strings.CutPrefix(rest, form.before)
		if v, ok = cutLast(v, form.after, ok); ok && !strings.Contains(v, ".") {
			return v, true
		}
	}
	return "", false
}
