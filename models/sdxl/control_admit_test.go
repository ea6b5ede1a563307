package sdxl

import (
	"errors"
	"testing"
)

// TestControlsAreAdmitted: once a run is started every program of its ControlNets is compiled, and with that known to
// have room: of several with what each is added to, of which one ends earlier, and of sub-prompts.
func TestControlsAreAdmitted(t *testing.T) {
	t.Parallel()
	g := openControlGoldens(t)
	d, m := openFaulty(t)
	r := controlled(g, "full")
	r.Controls[0].End = 0.4
	r.Controls = append(r.Controls, Control{Path: g.folder("other"), Image: g.picture("b")})
	for what, prompt := range map[string]string{"a prompt": "a house", "sub-prompts": "a house AND a tree :0.5"} {
		r.PromptStyle, r.Prompt = "a1111", prompt
		run, err := m.Start(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
		before := d.compiled
		for run.Next() {
			if err := run.Step(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if d.compiled != before {
			t.Errorf("%s: %d programs were compiled after the run was admitted", what, d.compiled-before)
		}
		run.Close()
	}
}

// TestControlsOfLaterExperts: before the first expert's first step a later one's ControlNets are opened and looked at.
func TestControlsOfLaterExperts(t *testing.T) {
	t.Parallel()
	g := openControlGoldens(t)
	first := newModels(t).open("tiny")
	second, err := Open(t.Context(), "synth:tiny", Options{Host: first.host})
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()
	r := controlled(g, "full")
	r.Steps = 4
	open := 0
	r.OnStep = func(int, *Tensor) error {
		open = second.sides.all.Len()
		return errors.New("enough")
	}
	if _, err := Ensemble(t.Context(), r, Expert{first, 0.5}, Expert{Model: second}); err == nil || err.Error() != "enough" {
		t.Fatal(err)
	}
	if open != 1 {
		t.Errorf("the later expert has %d ControlNets open at the first step, want 1", open)
	}
	for e := second.sides.all.Front(); e != nil; e = e.Next() {
		if n := e.Value.(*sideNetwork); n.uses != 0 {
			t.Errorf("%s has %d users", n.key, n.uses)
		}
	}
}
