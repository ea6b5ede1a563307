package server

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

var (
	numberText    = regexp.MustCompile(`^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?$`)
	notFiniteText = regexp.MustCompile(`^(?i:[+-]?(nan|inf|infinity))$`)
)

// interval is [min, max], but for the ends that are left out.
type interval struct {
	min, max           float64
	aboveMin, belowMax bool
}

// number reads a number in an interval: a number, or a string of one. It returns otherwise where there is none.
func (f *fields) number(name string, i interval, otherwise float64) float64 {
	f.notes.number(name, i, &otherwise)
	if v := f.optionalNumber(name, i); v != nil {
		return *v
	}
	return otherwise
}

// optionalNumber is number that returns nil where there is none.
func (f *fields) optionalNumber(name string, i interval) *float64 {
	f.notes.number(name, i, nil)
	raw := f.given(name)
	if raw == nil {
		return nil
	}
	v, ok := f.parseNumber(name, raw)
	least, most := "ge", "le"
	if i.aboveMin {
		least = "gt"
	}
	if i.belowMax {
		most = "lt"
	}
	ctx := map[string]any{least: i.min, most: i.max}
	switch {
	case !ok:
	case i.belowMax && v >= i.max:
		f.report(name, "less_than", fmt.Sprintf("Input should be less than %g", i.max), ctx)
	case v > i.max:
		f.report(name, "less_than_equal", fmt.Sprintf("Input should be less than or equal to %g", i.max), ctx)
	case i.aboveMin && v <= i.min:
		f.report(name, "greater_than", fmt.Sprintf("Input should be greater than %g", i.min), ctx)
	case v < i.min:
		f.report(name, "greater_than_equal", fmt.Sprintf("Input should be greater than or equal to %g", i.min), ctx)
	}
	return &v
}

// parseNumber is not ok after a report.
func (f *fields) parseNumber(name string, raw json.RawMessage) (v float64, ok bool) {
	literal := string(raw)
	switch raw[0] {
	case 't':
		return 1, true
	case 'f':
		return 0, true
	case '{', '[':
		f.report(name, "float_type", "Input should be a valid number", nil)
		return 0, false
	case '"':
		var s string
		if json.Unmarshal(raw, &s) != nil {
			s = ""
		}
		literal = strings.TrimSpace(s)
		if notFiniteText.MatchString(literal) {
			f.report(name, "finite_number", "Input should be a finite number", nil)
			return 0, false
		}
		if !numberText.MatchString(literal) {
			f.report(name, "float_parsing", "Input should be a valid number, unable to parse string as a number", nil)
			return 0, false
		}
	}
	v, err := strconv.ParseFloat(literal, 64)
	if err != nil { // out of range: the grammar was checked
		f.report(name, "finite_number", "Input should be a finite number", nil)
	}
	return v, err == nil
}
