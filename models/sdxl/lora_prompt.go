package sdxl

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/goxl/goxl/nn/weights/lora"
	"github.com/goxl/goxl/tokenizer/prompt"
)

// loraKinds are what A1111 calls an adapter in a prompt.
var loraKinds = []string{"lora", "lyco", "locon"}

// resolveLoRAs lists the adapters of a request, and after them those that its prompts name.
func (s *Spec) resolveLoRAs(q *resolved) error {
	q.loras = slices.Clone(q.request.LoRAs)
	named, err := q.promptLoRAs()
	if err != nil {
		return err
	}
	q.loras = append(q.loras, named...)
	for _, l := range q.loras {
		if l.Path == "" {
			return bad("loras", `""`, "the paths of files")
		}
		q.LoRAs = append(q.LoRAs, LoRAParameters{Name: loraName(l.Path), Strength: l.Strengths.String()})
	}
	return nil
}

// promptLoRAs are the adapters that the prompts name. The prompts of a batch, which has one set of weights, must agree.
func (q *resolved) promptLoRAs() (list []LoRA, err error) {
	var first []string
	for i, p := range q.Prompts {
		found := append(q.networks(p.Prompt), q.networks(p.Prompt2)...)
		var tags []string
		for _, n := range found {
			tags = append(tags, tagOf(n))
		}
		if i > 0 && !slices.Equal(tags, first) {
			return nil, bad("prompt", fmt.Sprintf("a list, of which one has %s and another %s", orNone(first), orNone(tags)), "a list whose prompts name the same adapters: a batch has one set of weights")
		}
		if i > 0 {
			continue
		}
		first = tags
		for _, n := range found {
			switch {
			case !slices.Contains(loraKinds, n.Kind):
				q.warnings = append(q.warnings, fmt.Sprintf("%s is left out of the prompt: goxl has no %s; it takes %s", tagOf(n), n.Kind, strings.Join(loraKinds, ", ")))
			case q.request.LoRADir == "":
				q.warnings = append(q.warnings, fmt.Sprintf("%s is left out of the prompt: no folder of adapters is given (-lora-dir)", tagOf(n)))
			default:
				l, err := namedLoRA(q.request.LoRADir, n)
				if err != nil {
					return nil, err
				}
				list = append(list, l)
			}
		}
	}
	return list, nil
}

// namedLoRA finds the adapter of <lora:NAME:STRENGTH>, whose strength may be that of the text encoders and that of the
// UNet, as in A1111.
func namedLoRA(folder string, n prompt.Network) (l LoRA, err error) {
	if l.Path, err = lora.Find(folder, n.Args[0]); err == nil {
		l.Strengths, err = lora.ParseStrengths(strings.Join(n.Args[1:], ":"))
	}
	var unknown *lora.FolderError
	if errors.As(err, &unknown) {
		unknown.Folder = "adapters" // where the folder lies is not the business of who wrote the prompt
	}
	if err != nil {
		return l, &RequestError{Field: "prompt", Value: tagOf(n), Allowed: "<lora:NAME:STRENGTH> of an adapter that is there", Err: err}
	}
	return l, nil
}

func tagOf(n prompt.Network) string {
	return "<" + n.Kind + ":" + strings.Join(n.Args, ":") + ">"
}

func orNone(tags []string) string {
	if len(tags) == 0 {
		return "none"
	}
	return strings.Join(tags, " ")
}

// networks lists what a text names in its style and, where there is a folder of adapters, as A1111 does in every style.
// Without a folder, tags in a style that has none are text, with a warning.
func (q *resolved) networks(text string) []prompt.Network {
	style := q.style()
	if style.HasTags() {
		return prompt.NetworksOf(style, text)
	}
	rest, tags := prompt.Networks(text)
	if q.request.LoRADir != "" {
		return append(tags, prompt.NetworksOf(style, rest)...)
	}
	for _, n := range tags {
		if slices.Contains(loraKinds, n.Kind) {
			q.warnings = append(q.warnings, fmt.Sprintf("%s is read as text: no folder of adapters is given (-lora-dir)", tagOf(n)))
		}
	}
	return prompt.NetworksOf(style, text)
}

// cutTags takes the tags of adapters out of a text, if there is a folder of them. The styles that have such tags take
// them out themselves.
func (q *resolved) cutTags(text string) string {
	if q.request.LoRADir == "" || q.style().HasTags() {
		return text
	}
	rest, _ := prompt.Networks(text)
	return rest
}

// withoutLoRAs is a request for a base's refiner, whose prompts name the base's adapters.
func withoutLoRAs(r Request) Request {
	r.LoRAs = nil
	if r.LoRADir == "" {
		return r
	}
	r.LoRADir = ""
	cut := func(p Prompt) Prompt {
		for _, text := range []*string{&p.Prompt, &p.Prompt2} {
			*text, _ = prompt.Networks(*text)
		}
		for _, text := range []**string{&p.NegativePrompt, &p.NegativePrompt2} {
			if *text != nil {
				rest, _ := prompt.Networks(**text)
				*text = &rest
			}
		}
		return p
	}
	one := cut(Prompt{r.Prompt, r.Prompt2, r.NegativePrompt, r.NegativePrompt2})
	r.Prompt, r.Prompt2, r.NegativePrompt, r.NegativePrompt2 = one.Prompt, one.Prompt2, one.NegativePrompt, one.NegativePrompt2
	r.Prompts = slices.Clone(r.Prompts)
	for i, p := range r.Prompts {
		r.Prompts[i] = cut(p)
	}
	return r
}
