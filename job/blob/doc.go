// Package blob keeps images in one folder, each in a file named after its id. An image is there as a whole or not at
// all, whatever happens to the process, the disk or the folder.
//
//	store := blob.New("images")
//	id, err := blob.NewID()
//	p, err := store.Begin(id, blob.PNG, 3<<20) // before the image is computed: a full disk is found now
//	defer p.Discard()
//	err = p.Commit(data)
package blob
