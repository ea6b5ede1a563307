package cli

import (
	"errors"
	"math"
	"strconv"
	"strings"
)

// Size is a number of bytes as a flag takes it: 0, or a number with a unit, such as 11GiB or 1.5GB. The flag rounds
// down to whole bytes.
type Size int64

var errSize = errors.New("must be 0 or a number and one of B, KiB, MiB, GiB, TiB, KB, MB, GB, TB, such as 11GiB")

// units are in the order in which String looks for one that divides a size.
var units = []struct {
	name  string
	bytes int64
}{
	{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10},
	{"TB", 1e12}, {"GB", 1e9}, {"MB", 1e6}, {"KB", 1e3}, {"B", 1},
}

// String is the size in the largest unit that divides it, as Set takes it.
func (s *Size) String() string {
	if *s == 0 {
		return "0"
	}
	i := 0
	for int64(*s)%units[i].bytes != 0 {
		i++
	}
	return strconv.FormatInt(int64(*s)/units[i].bytes, 10) + units[i].name
}

// Set reads a size. A number without a unit is refused, since a user may mean bytes, megabytes or gigabytes by it.
func (s *Size) Set(text string) error {
	if text == "0" {
		*s = 0
		return nil
	}
	for _, u := range units {
		number, ok := strings.CutSuffix(text, u.name)
		if !ok {
			continue
		}
		f, err := strconv.ParseFloat(number, 64)
		if bytes := f * float64(u.bytes); err == nil && bytes >= 0 && bytes < math.MaxInt64 {
			*s = Size(bytes)
			return nil
		}
		return errSize
	}
	return errSize
}

// Get implements flag.Getter.
func (s *Size) Get() any { return *s }
