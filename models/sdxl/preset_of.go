package sdxl

import (
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
)

// presetFiles are the names of published files and folders, in lower case, and the preset of each; $1 stands for what its
// first group matched.
var presetFiles = []struct {
	name   *regexp.Regexp
	preset string
}{
	{regexp.MustCompile(`sdxl_lightning_([1248])step`), "lightning$1"},
	{regexp.MustCompile(`hyper-sdxl-(8|12)steps?-cfg-lora`), "hyper-cfg$1"},
	{regexp.MustCompile(`hyper-sdxl-1step-lora`), "hyper-unified"},
	{regexp.MustCompile(`hyper-sdxl-1step-unet`), "hyper1"},
	{regexp.MustCompile(`hyper-sdxl-([248])steps-lora`), "hyper$1"},
	{regexp.MustCompile(`dmd2_sdxl_([14])step`), "dmd2-$1"},
	{regexp.MustCompile(`^(models--stabilityai--)?(sdxl-turbo|sd_xl_turbo_1\.0)`), "turbo"},
	{regexp.MustCompile(`lcm[-_]lora[-_]sdxl|lcm_sdxl_lora`), "lcm-lora"},
	{regexp.MustCompile(`^(models--latent-consistency--)?lcm-sdxl`), "lcm"},
	{regexp.MustCompile(`tcd-sdxl-lora`), "tcd"},
	{regexp.MustCompile(`pcm_sdxl_smallcfg_(2|4|8|16)step`), "pcm$1"},
	{regexp.MustCompile(`pcm_sdxl_normalcfg_(4|8|16)step`), "pcm-cfg$1"},
	{regexp.MustCompile(`pcm_sdxl_lcmlike_lora`), "pcm-lcm"},
	{regexp.MustCompile(`bigasp[-_]?v?2[-_.]?5`), "bigasp2.5"},
}

// presetHashes are the SHA-256 of published LoRA, which people rename.
var presetHashes = map[string]string{
	"a764e6859b6e04047cd761c08ff0cee96413a8e004c9f07707530cd776b19141": "lcm-lora",
	"2c777bc60abf41d3eb0fe405d23d73c280a020eea5adf97a82a141592c33feba": "tcd",
	"bf56cf2657efb15e465d81402ed481d1e11c4677e4bcce1bc11fe71ad8506b79": "lightning4",
	"c912df184c5116792d2c604d26c6bc2aa916685f4a793755255cda1c43a3c78a": "hyper-unified",
	"69b25c0187ced301c3603c599c0bc509ac99b8ac34db89a2aecc3d5f77a35187": "hyper2",
	"12f81a27d00a751a40d68fd15597091896c5a90f3bd632fb6c475607cbdad76e": "hyper4",
	"ca689190e8c46038550384b5675488526cfe5a40d35f82b27acb75c100f417c1": "hyper8",
	"55b51334c85061afff5eff7c550b61963c8b8607a5868bbe4f26db49374719b1": "hyper-cfg8",
	"0b97f447b5878323a28fbe7c51ba7acebd21f4d77552ba77b04b11c8911825b6": "hyper-cfg12",
	"242cbe4695fe3f2e248faa71cf53f2ccbf248a316973e4b2f38ab9e34f35a5ab": "pcm2",
	"e1f600491bb8e0cd94f41144321e44fdb2cb346447f31e71f6e53f1c24cccfbf": "pcm2",
	"13fb038025ce9dad93b8ee1b67fc81bac8affb59a77b67d408d286e0b0365a1d": "pcm16",
	"3442eff271aa3b60a094fd6f9169d03e49e4051044a974f6fcf690507959191f": "pcm16",
	"e80fcf46d15f4d3821d3d9611bdb3022a4a8b647b2536833b168d317a91e4f74": "pcm8",
	"56ed9dc9f51f4bb0d6172e13b7947f215c347fc0da341c8951b2c12b9507d09e": "pcm8",
	"a85cf70ac16ed42011630a5cd6b5927722cb7c40a2107eff85e2670f9a38c893": "pcm-cfg4",
	"9f7f13bb019925eacd89aeff678e4fd831f7b60245b986855dff6634aee4eba9": "pcm-cfg4",
	"3b9c970a3e4c0e182931e71b3f769c1956f16c6b06db98b4d67236790d4d0b1d": "pcm-cfg8",
	"7f04ba8911b4c25ef2c7cbf74abcb6daa3b4f0e4bc6a03896bdae7601f2f180b": "pcm-cfg8",
	"04ea827435d5750e63d113dc509174b4f6e8a069ff8f91970c3d25299c10b1f8": "pcm-cfg16",
	"7eb353b2abcaabab6251ba4e17d6cbe2e763feb0674b0f950555552212b44621": "pcm-cfg16",
}

// PresetOf is the name of the preset that goes with a published file of a few-step model, a LoRA, a UNet, a checkpoint
// or a folder, and how it was chosen; "" if none does. sha256 is the file's in hexadecimal, "" if it is not known. A file
// of diffusers' common names goes by its folder, a snapshot of the hub's cache by its repository. A merge of another
// name is not told apart from its base.
func PresetOf(path, sha256 string) (name, from string) {
	if name := presetHashes[strings.ToLower(sha256)]; name != "" {
		return name, "the file's SHA-256"
	}
	path = filepath.ToSlash(filepath.Clean(path))
	elements := strings.Split(path, "/")
	last := len(elements) - 1
	switch {
	case strings.HasPrefix(elements[last], "pytorch_lora_weights.") || strings.HasPrefix(elements[last], "diffusion_pytorch_model."):
		last--
	case last >= 2 && elements[last-1] == "snapshots":
		last -= 2
	}
	if last >= 2 && elements[last-1] == "snapshots" { // a file in a snapshot
		last -= 2
	}
	if last < 0 {
		return "", ""
	}
	for _, f := range presetFiles {
		lower := strings.ToLower(elements[last])
		if at := f.name.FindStringSubmatchIndex(lower); at != nil {
			return string(f.name.ExpandString(nil, f.preset, lower, at)), fmt.Sprintf("the name %s", elements[last])
		}
	}
	return "", ""
}
