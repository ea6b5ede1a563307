package weights

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// openShards opens the shards that an index names. As in the reference their content counts: a tensor that the index
// omits or places in another shard exists, one that no shard has does not, and of one that several shards have the last
// shard's is used. Shards of the same set that the index does not name supply the tensors that no other shard has.
func openShards(index string) (_ *fileSet, err error) {
	weightMap, err := readIndex(index)
	if err != nil {
		return nil, err
	}
	opened := &fileSet{path: index, owner: map[string]*File{}}
	defer func() {
		if err != nil {
			opened.Close()
		}
	}()
	named := slices.Compact(slices.Sorted(maps.Values(weightMap)))
	missing := map[string]bool{}
	for _, shard := range named {
		f, err := Open(filepath.Join(filepath.Dir(index), shard))
		if errors.Is(err, fs.ErrNotExist) {
			missing[shard] = true
			continue
		}
		if err != nil {
			return nil, err
		}
		opened.files = append(opened.files, f)
		for _, name := range f.names {
			opened.owner[name] = f
		}
	}
	opened.addSiblings(index, named)
	for _, name := range slices.Sorted(maps.Keys(weightMap)) {
		if shard := weightMap[name]; missing[shard] && opened.owner[name] == nil {
			return nil, &FileError{File: index, Tensor: name, What: fmt.Sprintf("shard %s is missing", quote(shard)), Err: fs.ErrNotExist}
		}
	}
	opened.names = slices.Sorted(maps.Keys(opened.owner))
	return opened, nil
}

var shardName = regexp.MustCompile(`^(.*-)\d+(-of-\d+.*\.(?:safetensors|bin))$`)

// addSiblings opens the shards of the same set that an index does not name, for the tensors that no other shard has.
// One that cannot be read is skipped: binding reports the tensors that are missing.
func (s *fileSet) addSiblings(index string, named []string) {
	entries, err := os.ReadDir(filepath.Dir(index))
	if err != nil {
		return // then none can be opened either
	}
	sets := map[[2]string]bool{}
	set := func(name string) [2]string {
		if m := shardName.FindStringSubmatch(name); m != nil {
			return [2]string{m[1], m[2]}
		}
		return [2]string{}
	}
	for _, name := range named {
		sets[set(name)] = true
	}
	delete(sets, [2]string{})
	for _, e := range entries {
		if !sets[set(e.Name())] || slices.Contains(named, e.Name()) {
			continue
		}
		f, err := Open(filepath.Join(filepath.Dir(index), e.Name()))
		if err != nil {
			continue
		}
		s.files = append(s.files, f)
		for _, name := range f.names {
			if s.owner[name] == nil {
				s.owner[name] = f
			}
		}
	}
}

// hasShards reports whether a shard of an index is there. The result is true for an index that cannot be read: opening
// it reports the error.
func hasShards(index string) bool {
	weightMap, err := readIndex(index)
	if err != nil {
		return true
	}
	return slices.ContainsFunc(slices.Compact(slices.Sorted(maps.Values(weightMap))), func(shard string) bool {
		_, err := os.Stat(filepath.Join(filepath.Dir(index), shard))
		return err == nil
	})
}

// readIndex reads the weight_map of a shard index: tensor → file beside the index.
func readIndex(path string) (map[string]string, error) {
	data, err := readSmall(path)
	if err != nil {
		return nil, err
	}
	members, err := parseObject(data, path)
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(members, func(m member) bool { return m.key == "weight_map" })
	if i < 0 {
		return nil, &ConfigError{File: path, Key: "weight_map", Allowed: "missing; an index needs it"}
	}
	var weightMap map[string]string
	if err := json.Unmarshal(members[i].value, &weightMap); err != nil || len(weightMap) == 0 {
		return nil, &ConfigError{File: path, Key: "weight_map", Value: shortJSON(members[i].value), Allowed: "an object of at least one tensor name and its file name"}
	}
	for _, shard := range weightMap {
		if !plainName(shard) || !strings.HasSuffix(shard, ".safetensors") && !strings.HasSuffix(shard, ".bin") {
			return nil, &ConfigError{File: path, Key: "weight_map", Value: quote(shard), Allowed: "the name of a .safetensors or .bin file in the same folder"}
		}
	}
	return weightMap, nil
}
