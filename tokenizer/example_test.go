package tokenizer_test

import (
	"fmt"
	"log"

	"github.com/goxl/goxl/tokenizer"
)

func Example() {
	t, err := tokenizer.CLIP("<|endoftext|>")
	if err != nil {
		log.Fatal(err)
	}
	e, err := t.Encode("a photo of an astronaut riding a horse on mars")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(len(e.IDs), e.IDs[:13])
	fmt.Printf("%q\n", t.Decode(e.IDs[1:e.Tokens+1]))
	// Output:
	// 77 [49406 320 1125 539 550 18376 6765 320 4558 525 7496 49407 49407]
	// "a photo of an astronaut riding a horse on mars"
}

// SDXL's second tokenizer pads with "!", which is therefore a special token inside the text as well.
func ExampleCLIP_secondTokenizer() {
	t, err := tokenizer.CLIP("!")
	if err != nil {
		log.Fatal(err)
	}
	ids, err := t.Tokenize("stop!!")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(ids, t.Pad())
	// Output: [1691 0 0] 0
}
