package main

import (
	"fmt"
	"strings"
)

// count shortens a number for people: "2.57 G".
func count(n int64) string { return strings.TrimSpace(size(n, "")) }

// size shows n of a unit with a decimal prefix: "5.14 GB".
func size(n int64, unit string) string {
	v := float64(n)
	if v < 1000 {
		return fmt.Sprintf("%d %s", n, unit)
	}
	prefixes := "kMGTPE"
	i := -1
	for v >= 999.5 && i < len(prefixes)-1 {
		v /= 1000
		i++
	}
	return fmt.Sprintf("%.3g %c%s", v, prefixes[i], unit)
}
