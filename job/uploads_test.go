package job

import "testing"

// A blob belongs to who uploaded it, whatever jobs read it, else to the owner of the job that made or reads it.
func TestOwnerOfBlob(t *testing.T) {
	j := openJournal(t, JournalOptions{})
	want := func(blob, owner string, known bool) {
		t.Helper()
		if got, ok, err := j.OwnerOfBlob(blob); got != owner || ok != known || err != nil {
			t.Errorf("%s: %q, %v, %v: want %q, %v", blob, got, ok, err, owner, known)
		}
	}
	want("upload", "", false)
	if err := j.SetUploader("upload", "ann"); err != nil {
		t.Fatal(err)
	}
	for _, job := range []Job{
		{ID: "a", Owner: "bob", Inputs: []Blob{{ID: "upload"}, {ID: "body"}}},
		{ID: "b", Owner: "ann", Inputs: []Blob{{ID: "made"}}},
		{ID: "c", Owner: "bob"},
	} {
		if _, _, err := j.Accept(job); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := j.Update("c", func(job *Job) error { job.State, job.Outputs = Done, []Blob{{ID: "made"}}; return nil }); err != nil {
		t.Fatal(err)
	}
	reopen(t, j)
	want("upload", "ann", true)
	want("body", "bob", true)
	want("made", "bob", true)
	want("uploa", "", false)
	want("", "", false)
	if err := j.ForgetUploads("upload", "made", "other", ""); err != nil {
		t.Fatal(err)
	}
	want("upload", "bob", true) // who reads it
	if err := j.Remove("c"); err != nil {
		t.Fatal(err)
	}
	want("made", "ann", true)
	for _, bad := range []string{"", "a\x00b"} {
		if err := j.SetUploader(bad, "ann"); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}
