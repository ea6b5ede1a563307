//go:build !unix

package cpu

import "testing"

// fenced returns n bytes; without mmap there is no fence behind them.
func fenced(_ testing.TB, n int) []byte { return make([]byte, n) }
