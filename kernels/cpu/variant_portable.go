//go:build !amd64 || noasm

package cpu

func variants() []*variant { return []*variant{portable} }
