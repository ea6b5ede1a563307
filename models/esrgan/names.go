package esrgan

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/nn/weights"
)

// Patterns of names in older files, and BasicSR's names. model.K of the oldest, with K from 2 on, are those of
// doublings: see tail.
var patterns = []struct {
	old *regexp.Regexp
	new string
}{
	{regexp.MustCompile(`^model\.0\.(weight|bias)$`), "conv_first.$1"},
	{regexp.MustCompile(`^model\.1\.sub\.(\d+)\.RDB([123])\.conv([1-5])\.0\.(weight|bias)$`), "body.$1.rdb$2.conv$3.$4"},
	{regexp.MustCompile(`^model\.1\.sub\.\d+\.(weight|bias)$`), "conv_body.$1"},
	{regexp.MustCompile(`^RRDB_trunk\.(\d+)\.RDB([123])\.conv([1-5])\.(weight|bias)$`), "body.$1.rdb$2.conv$3.$4"},
	{regexp.MustCompile(`^trunk_conv\.(weight|bias)$`), "conv_body.$1"},
	{regexp.MustCompile(`^upconv(\d)\.(weight|bias)$`), "conv_up$1.$2"},
	{regexp.MustCompile(`^HRconv\.(weight|bias)$`), "conv_hr.$1"},
}

// wrappers are what training programs lay a model's tensors in, the averaged ones first.
var wrappers = []string{"params_ema.", "params."}

var tailName = regexp.MustCompile(`^model\.(\d+)\.(weight|bias)$`)

// canonical gives a checkpoint BasicSR's names.
func canonical(src kernels.Source) kernels.Source {
	names := src.Names()
	for _, wrapper := range wrappers {
		if slices.ContainsFunc(names, func(name string) bool { return strings.HasPrefix(name, wrapper) }) {
			src = weights.Rename(src, func(name string) string {
				inner, ok := strings.CutPrefix(name, wrapper)
				if !ok {
					return "" // another set of the same tensors, or an optimiser's
				}
				return inner
			})
			break
		}
	}
	src = weights.Rename(src, func(name string) string { return strings.TrimPrefix(name, "module.") }) // torch's DataParallel
	tail := tail(src.Names())
	return weights.Rename(src, func(name string) string {
		if parts := tailName.FindStringSubmatch(name); parts != nil {
			if to, ok := tail[parts[1]]; ok {
				return to + "." + parts[2]
			}
		}
		for _, p := range patterns {
			if p.old.MatchString(name) {
				return p.old.ReplaceAllString(name, p.new)
			}
		}
		return name
	})
}

// tail names the convolutions behind the blocks of the oldest files by their numbers, which count layers without
// tensors too: the last two are conv_hr and conv_last, the others doublings.
func tail(names []string) map[string]string {
	var numbers []int
	for _, name := range names {
		if parts := tailName.FindStringSubmatch(name); parts != nil && parts[2] == "weight" {
			if k, err := strconv.Atoi(parts[1]); err == nil && k > 1 {
				numbers = append(numbers, k)
			}
		}
	}
	slices.Sort(numbers)
	to := map[string]string{}
	for i, k := range numbers {
		name := fmt.Sprintf("conv_up%d", i+1)
		switch len(numbers) - i {
		case 1:
			name = "conv_last"
		case 2:
			name = "conv_hr"
		}
		to[strconv.Itoa(k)] = name
	}
	return to
}
