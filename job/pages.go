package job

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"os"
)

// The parts of bbolt's file, in the byte order of the machine: pages with a header of 16 bytes (id u64, flags u16,
// count u16, overflow u32); two first ones with the file's meta data; branches and leaves of trees, whose elements come
// before their keys and values; and the list of the pages that are free. See
// https://github.com/etcd-io/bbolt/tree/v1.4.3/internal/common
const (
	pageHeader   = 16
	metaBytes    = 64 // from the magic to the checksum
	metaMagic    = 0xED0CDAED
	branchFlag   = 0x01
	leafFlag     = 0x02
	freelistFlag = 0x10
	bucketFlag   = 0x01 // of an element of a leaf
	leafElement  = 16   // as an element of a branch (pos u32, key u32, page u64): flags u32, pos u32, key u32, value u32
	bucketHeader = 16   // root u64, sequence u64
)

var native = binary.NativeEndian

// meta is the part of a first page that says where everything is.
type meta struct {
	pageSize             uint32
	root, freelist, high uint64 // pages
	transaction          uint64
}

// pages checks a file page by page.
type pages struct {
	file io.ReaderAt
	meta
	used  []bool   // pages that were reached
	spare [][]byte // buffers of one page
}

// verifyPages finds damage in what bbolt takes for granted: that every page below the last is reached exactly once, as
// part of a tree or as free, and that keys are in order. So a file that was cut is found, and so is a flipped bit of
// what holds the pages together; those of keys and values are for whoever reads them. stale is not nil where one of the
// two first pages can't be read, so that the other one counts, which may be older by a transaction.
func verifyPages(path string) (stale, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	p := &pages{file: f}
	if p.meta, stale, err = readMeta(f); err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if want := int64(p.high) * int64(p.pageSize); info.Size() < want {
		return nil, fmt.Errorf("the file has %d bytes of %d", info.Size(), want)
	}
	p.used = make([]bool, p.high)
	p.used[0], p.used[1] = true, true
	if err := p.tree(p.root, nil, nil); err != nil {
		return nil, err
	}
	if err := p.free(); err != nil {
		return nil, err
	}
	for id, used := range p.used {
		if !used {
			return nil, fmt.Errorf("page %d is lost: it is part of no tree, and not free", id)
		}
	}
	return stale, nil
}

// readMeta reads the first pages as bbolt does: the later one of those whose checksums hold.
func readMeta(f io.ReaderAt) (m meta, stale, err error) {
	first, err0 := metaAt(f, 0)
	size := first.pageSize
	if err0 != nil {
		size = uint32(os.Getpagesize())
	}
	second, err1 := metaAt(f, int64(size))
	switch {
	case err0 != nil && err1 != nil:
		return m, nil, fmt.Errorf("neither of its first pages can be read: %w", err0)
	case err0 != nil:
		return second, err0, nil
	case err1 != nil:
		return first, err1, nil
	case second.transaction > first.transaction:
		return second, nil, nil
	}
	return first, nil, nil
}

func metaAt(f io.ReaderAt, offset int64) (m meta, err error) {
	b := make([]byte, metaBytes)
	if _, err := f.ReadAt(b, offset+pageHeader); err != nil {
		return m, err
	}
	h := fnv.New64a()
	_, _ = h.Write(b[:metaBytes-8])
	m = meta{
		pageSize: native.Uint32(b[8:]), root: native.Uint64(b[16:]), freelist: native.Uint64(b[32:]),
		high: native.Uint64(b[40:]), transaction: native.Uint64(b[48:]),
	}
	switch {
	case native.Uint32(b) != metaMagic:
		return m, errors.New("it is no file of bbolt")
	case native.Uint64(b[56:]) != h.Sum64():
		return m, errors.New("the checksum of a first page is wrong")
	case m.pageSize < 512 || m.high < 2 || m.high > 1<<40:
		return m, fmt.Errorf("%d pages of %d bytes", m.high, m.pageSize)
	}
	return m, nil
}

// read reads a page with what overflows it, and marks it.
func (p *pages) read(id uint64) (page []byte, err error) {
	if id < 2 || id >= p.high {
		return nil, fmt.Errorf("a page is %d of %d", id, p.high)
	}
	if n := len(p.spare); n > 0 {
		page, p.spare = p.spare[n-1], p.spare[:n-1]
	} else {
		page = make([]byte, p.pageSize)
	}
	at := int64(id) * int64(p.pageSize)
	if _, err := p.file.ReadAt(page, at); err != nil {
		return nil, err
	}
	more := uint64(native.Uint32(page[12:]))
	if got := native.Uint64(page); got != id || more >= p.high-id {
		return nil, fmt.Errorf("page %d says that it is page %d, and %d more", id, got, more)
	}
	for i := id; i <= id+more; i++ {
		if p.used[i] {
			return nil, fmt.Errorf("page %d is reached twice", i)
		}
		p.used[i] = true
	}
	if more > 0 {
		page = make([]byte, (more+1)*uint64(p.pageSize))
		_, err = p.file.ReadAt(page, at)
	}
	return page, err
}

// tree checks a page of a tree and those below it, whose keys are from low to below high; nil is no bound.
func (p *pages) tree(id uint64, low, high []byte) error {
	page, err := p.read(id)
	if err != nil {
		return err
	}
	err = p.elements(id, page, low, high)
	if len(page) == int(p.pageSize) {
		p.spare = append(p.spare, page)
	}
	return err
}

// elements checks the elements of a page, and what they lead to.
func (p *pages) elements(id uint64, page, low, high []byte) error {
	flags, count := native.Uint16(page[8:]), int(native.Uint16(page[10:]))
	if flags != branchFlag && flags != leafFlag {
		return fmt.Errorf("page %d has the flags %#x", id, flags)
	}
	list, err := split(page, flags, count)
	if err != nil {
		return fmt.Errorf("page %d: %w", id, err)
	}
	for i, e := range list {
		if i > 0 && bytes.Compare(list[i-1].key, e.key) >= 0 || low != nil && bytes.Compare(e.key, low) < 0 || high != nil && bytes.Compare(e.key, high) >= 0 {
			return fmt.Errorf("page %d: key %d is not in order", id, i)
		}
		switch {
		case flags == branchFlag:
			next := high
			if i+1 < len(list) {
				next = list[i+1].key
			}
			err = p.tree(e.page, e.key, next)
		case e.flags == bucketFlag:
			err = p.bucket(id, e.value)
		case e.flags != 0:
			err = fmt.Errorf("page %d: key %d has the flags %#x", id, i, e.flags)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// bucket checks the tree of a bucket, or the page that its value has where it is small.
func (p *pages) bucket(id uint64, value []byte) error {
	if len(value) < bucketHeader {
		return fmt.Errorf("page %d: a bucket has %d bytes", id, len(value))
	}
	if root := native.Uint64(value); root != 0 {
		return p.tree(root, nil, nil)
	}
	inline := value[bucketHeader:]
	if len(inline) < pageHeader {
		return fmt.Errorf("page %d: a bucket has %d bytes", id, len(value))
	}
	return p.elements(id, inline, nil, nil)
}

// element is one of a branch or leaf.
type element struct {
	flags      uint32
	key, value []byte
	page       uint64
}

// split takes a page apart. bbolt writes keys and values one after another, without gaps.
func split(page []byte, flags uint16, count int) (list []element, err error) {
	at := pageHeader + count*leafElement // where the next key must be; both kinds have the same size
	if at > len(page) {
		return nil, fmt.Errorf("it has %d elements", count)
	}
	list = make([]element, 0, count)
	for i := range count {
		start := pageHeader + i*leafElement
		b := page[start:]
		var e element
		var pos, key, value int
		if flags == branchFlag {
			pos, key, e.page = int(native.Uint32(b)), int(native.Uint32(b[4:])), native.Uint64(b[8:])
		} else {
			e.flags, pos, key, value = native.Uint32(b), int(native.Uint32(b[4:])), int(native.Uint32(b[8:])), int(native.Uint32(b[12:]))
		}
		if start+pos != at || key+value > len(page)-at {
			return nil, fmt.Errorf("key %d of %d bytes, with a value of %d, is not in its place", i, key, value)
		}
		e.key, e.value = page[at:at+key], page[at+key:at+key+value]
		at += key + value
		list = append(list, e)
	}
	return list, nil
}

// free marks the pages that are free, and those that list them.
func (p *pages) free() error {
	page, err := p.read(p.freelist)
	if err != nil {
		return fmt.Errorf("the list of free pages: %w", err)
	}
	flags, count, list := native.Uint16(page[8:]), uint64(native.Uint16(page[10:])), page[pageHeader:]
	if flags != freelistFlag {
		return fmt.Errorf("page %d has the flags %#x; the list of free pages must be there", p.freelist, flags)
	}
	if count == 0xFFFF { // too many for the header
		count, list = native.Uint64(list), list[8:]
	}
	if count > uint64(len(list)/8) {
		return fmt.Errorf("%d pages are free, in a list of %d", count, len(list)/8)
	}
	for i := range count {
		id := native.Uint64(list[8*i:])
		if id < 2 || id >= p.high || p.used[id] {
			return fmt.Errorf("page %d is free, and used", id)
		}
		p.used[id] = true
	}
	return nil
}
