// Package hub finds and downloads models of the Hugging Face Hub, or of a server with its routes, in huggingface_hub's
// own cache, so that Python and goxl share what either has downloaded.
//
//	client := hub.Client{Settings: hub.FromEnvironment()}
//	name, err := hub.ParseName("stabilityai/stable-diffusion-xl-base-1.0")
//	dir, err := client.Ensure(ctx, name, weights.Variant{Precision: kernels.F16})
//
// [Client.Find] looks into the cache alone; [Client.Pull] asks the server what a revision is now, and downloads what
// the cache lacks of it; [Client.Ensure] does the second where the first finds nothing complete. Of a repository with a
// model_index.json only the files that goxl reads are taken, with one variant of the weights.
//
// # The cache
//
// Below Settings.Cache a repository ORG/NAME is models--ORG--NAME: blobs holds contents, by their SHA-256 (files of
// LFS) or git's SHA-1; snapshots/COMMIT holds relative links to them under the files' names; refs/REVISION is the
// commit that a branch or tag was at. What a download that ended early has brought lies in blobs/HASH.incomplete, where
// the next one goes on. Who writes a blob holds .locks/models--ORG--NAME/HASH.lock by flock(2), as the Python client
// does. A blob gets its name once its length and hash are right, and a ref is written when all files of its snapshot
// are there.
//
// Source: huggingface_hub 2.4 file_download.py, _snapshot_download.py, constants.py, utils/_http.py and
// utils/_fixes.py.
package hub
