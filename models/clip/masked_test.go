package clip_test

import (
	"context"
	"encoding/binary"
	"math"
	"os"
	"testing"

	"github.com/goxl/goxl/internal/golden"
	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/kernels/cpu"
	"github.com/goxl/goxl/models/clip"
	"github.com/goxl/goxl/nn"
	"github.com/goxl/goxl/nn/weights"
)

func openTiny(t *testing.T) *clip.Encoder {
	t.Helper()
	dev, err := cpu.New(cpu.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dev.Close() })
	const file = "../sdxl/synthetic/tiny/text_encoder_2/config.json"
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	config, err := clip.ParseConfig(data, file)
	if err != nil {
		t.Fatal(err)
	}
	e, err := clip.Open(dev, weights.Synthetic("text_encoder_2", nn.Shapes(clip.New(config)), kernels.F32), config, kernels.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close() })
	return e
}

// TestMasked compares sequences without a mask with EncodeSequences, and wants a masked token to change no other.
func TestMasked(t *testing.T) {
	e := openTiny(t)
	ids := []int32{5, 6, 7, 8, 9}
	for skip := range 2 {
		want, _, err := e.Encode(context.Background(), [][]int32{ids}, skip)
		if err != nil {
			t.Fatal(err)
		}
		got, err := e.EncodeMasked(context.Background(), []clip.Sequence{{IDs: ids}}, [][]bool{make([]bool, 5)}, skip)
		if err != nil {
			t.Fatal(err)
		}
		golden.Near(t, "hidden", got, want, 1e-6)
	}
	mask := [][]bool{{false, false, true, false, false}}
	one, err := e.EncodeMasked(context.Background(), []clip.Sequence{{IDs: ids}}, mask, 0)
	if err != nil {
		t.Fatal(err)
	}
	other, err := e.EncodeMasked(context.Background(), []clip.Sequence{{IDs: []int32{5, 6, 3, 8, 9}}}, mask, 0)
	if err != nil {
		t.Fatal(err)
	}
	c := e.Config.HiddenSize
	golden.Near(t, "after the masked token", other[3*c:], one[3*c:], 0)
	if d, err := golden.Distance(other[2*c:3*c], one[2*c:3*c]); err != nil || d < 1e-3 {
		t.Errorf("another masked token is as far as %g from it, %v", d, err)
	}
	for _, bad := range [][][]bool{{{true, false, false, false, false}}, {{false}}, nil} {
		if _, err := e.EncodeMasked(context.Background(), []clip.Sequence{{IDs: ids}}, bad, 0); err == nil {
			t.Errorf("a mask of %v is taken", bad)
		}
	}
}

// TestVectors puts the table's own row in the place of a token, which changes nothing, and refuses others.
func TestVectors(t *testing.T) {
	e := openTiny(t)
	table := weights.Synthetic("text_encoder_2", nn.Shapes(clip.New(e.Config)), kernels.F32)
	_, _, data, err := table.Tensor("text_model.embeddings.token_embedding.weight")
	if err != nil {
		t.Fatal(err)
	}
	c := e.Config.HiddenSize
	row := make([]float32, c)
	for i := range row {
		row[i] = math.Float32frombits(binary.LittleEndian.Uint32(data[4*(7*c+i):]))
	}
	want, wantPooled, err := e.Encode(context.Background(), [][]int32{{5, 6, 7, 9}, {5, 6, 8, 9}}, 0)
	if err != nil {
		t.Fatal(err)
	}
	got, pooled, err := e.EncodeSequences(context.Background(), []clip.Sequence{{IDs: []int32{5, 6, 0, 9}, Vectors: map[int][]float32{2: row}}, {IDs: []int32{5, 6, 8, 9}}}, 0)
	if err != nil {
		t.Fatal(err)
	}
	golden.Near(t, "hidden", got, want, 1e-6)
	golden.Near(t, "pooled", pooled, wantPooled, 1e-6)
	for at, v := range map[int][]float32{4: row, -1: row, 2: row[1:]} {
		if _, _, err := e.EncodeSequences(context.Background(), []clip.Sequence{{IDs: []int32{5, 6, 0, 9}, Vectors: map[int][]float32{at: v}}}, 0); err == nil {
			t.Errorf("a vector of %d numbers at %d is taken", len(v), at)
		}
	}
}

// TestEmbedUpdated wants sequences that are embedded on the host to have the tables of the update in force.
func TestEmbedUpdated(t *testing.T) {
	e := openTiny(t)
	ids := []int32{5, 6, 7, 8, 9}
	var first []float32
	for _, step := range []string{"changed", "unchanged"} {
		var u *kernels.Update
		if step == "changed" {
			u = &kernels.Update{LowRank: map[string][]kernels.LowRank{}}
			for _, table := range []string{"token_embedding", "position_embedding"} {
				name := "text_model.embeddings." + table + ".weight"
				_, shape, err := e.Source().Describe(name)
				if err != nil {
					t.Fatal(err)
				}
				up, down := make([]float32, shape[0]), make([]float32, shape[1])
				for i := range up {
					up[i] = float32(i%7) - 3
				}
				for i := range down {
					down[i] = float32(i%5) / 16
				}
				u.LowRank[name] = []kernels.LowRank{{Up: kernels.FloatFactor(up), Down: kernels.FloatFactor(down), Rank: 1, Scale: 1}}
			}
		}
		if err := e.Update(t.Context(), u); err != nil {
			t.Fatal(err)
		}
		want, _, err := e.Encode(t.Context(), [][]int32{ids}, 0)
		if err != nil {
			t.Fatal(err)
		}
		got, err := e.EncodeMasked(t.Context(), []clip.Sequence{{IDs: ids}}, [][]bool{make([]bool, 5)}, 0)
		if err != nil {
			t.Fatal(err)
		}
		golden.Near(t, step, got, want, 1e-6)
		if first == nil {
			first = want
		} else if want[0] == first[0] {
			t.Error("the update changes nothing")
		}
	}
}
