package lora

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"regexp"
	"strings"
)

// peftMetadata is the entry of the header in which diffusers saves PEFT's configurations, by component.
const peftMetadata = "lora_adapter_metadata"

// peftConfig is what a PEFT configuration says about factors. The zero value says nothing.
type peftConfig struct {
	alpha    float64
	known    bool
	rsLoRA   bool
	patterns []alphaPattern // the first that fits counts
}

type alphaPattern struct {
	expr  *regexp.Regexp
	alpha float64
}

// factor is alpha/rank, or alpha/√rank with rsLoRA; 1 if no alpha is known.
func (c peftConfig) factor(path string, rank int) float32 {
	if !c.known {
		return 1
	}
	a := c.alpha
	for _, p := range c.patterns {
		if p.expr.MatchString(path) {
			a = p.alpha
			break
		}
	}
	if c.rsLoRA {
		return float32(a / math.Sqrt(float64(rank)))
	}
	return float32(a / float64(rank))
}

// readPEFT reads the configurations by component. An entry that is no JSON object is an error.
func readPEFT(path string, metadata map[string]string) (map[string]peftConfig, error) {
	text, ok := metadata[peftMetadata]
	if !ok {
		return nil, nil
	}
	fail := func(key string, err error) error {
		return fmt.Errorf("%s: header entry %s%s: %w", path, peftMetadata, key, err)
	}
	var all map[string]json.RawMessage
	if err := json.Unmarshal([]byte(text), &all); err != nil {
		return nil, fail("", err)
	}
	configs := map[string]peftConfig{}
	for key, value := range all {
		component, field, ok := strings.Cut(key, ".")
		if !ok {
			continue
		}
		c := configs[component]
		var err error
		switch field {
		case "lora_alpha":
			c.known = true
			err = json.Unmarshal(value, &c.alpha)
		case "use_rslora":
			err = json.Unmarshal(value, &c.rsLoRA)
		case "alpha_pattern":
			c.patterns, err = readPatterns(value)
		}
		if err != nil {
			return nil, fail(" key "+key, err)
		}
		configs[component] = c
	}
	return configs, nil
}

// readPatterns reads {"pattern": alpha} in order. A pattern is an expression for the end of a module's name.
func readPatterns(value json.RawMessage) ([]alphaPattern, error) {
	if string(value) == "null" {
		return nil, nil
	}
	dec := json.NewDecoder(bytes.NewReader(value))
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return nil, fmt.Errorf("it is not an object")
	}
	var all []alphaPattern
	for dec.More() {
		key, err := dec.Token()
		if err != nil {
			return nil, err
		}
		var p alphaPattern
		if err := dec.Decode(&p.alpha); err != nil {
			return nil, err
		}
		text := key.(string) // the decoder takes nothing else as a key
		if p.expr, err = regexp.Compile(`^(?:.*\.)?(?:` + text + `)$`); err != nil {
			p.expr = regexp.MustCompile(`^(?:.*\.)?` + regexp.QuoteMeta(text) + `$`)
		}
		all = append(all, p)
	}
	return all, nil
}
