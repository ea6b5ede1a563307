package server

// sdControlOperations describes the routes of the extension sd-webui-controlnet.
func sdControlOperations() []operation {
	return []operation{
		{
			route: "GET /controlnet/version", id: "controlnetVersion", tag: tagSDAPI, summary: "The version of the extension's API",
			answers: []answerDoc{{status: 200, about: "The version.", of: typeOf[sdControlVersion]()}},
		}, {
			route: "GET /controlnet/settings", id: "controlnetSettings", tag: tagSDAPI, summary: "How many units a request may have",
			answers: []answerDoc{{status: 200, about: "The number.", of: typeOf[sdControlSettings]()}},
		}, {
			route: "GET /controlnet/model_list", id: "controlnetModels", tag: tagSDAPI, summary: "The models of units",
			answers: []answerDoc{{status: 200, about: "Their names.", of: typeOf[sdControlModels]()}},
		}, {
			route: "GET /controlnet/module_list", id: "controlnetModules", tag: tagSDAPI, summary: "What makes control images, and what reads image prompts",
			query:       func(f *fields) { f.sdAliasNames() },
			parameterOf: []fieldDoc{{"alias_names", "Gives the labels of the modules, which are names too."}},
			answers:     []answerDoc{{status: 200, about: "Their names, and their numbers.", of: typeOf[sdControlModules]()}},
			fails:       [][]kind{{invalid}},
		}, {
			route: "GET /controlnet/control_types", id: "controlnetTypes", tag: tagSDAPI, summary: "Modules and models by what they are for",
			answers: []answerDoc{{status: 200, about: "The types.", of: typeOf[sdControlTypes]()}},
		}, {
			route: "POST /controlnet/detect", id: "controlnetDetect", tag: tagSDAPI, summary: "Make control images",
			body: &bodyForm{
				parse: func(_ *Server, _ *exchange, f *fields) { f.sdDetection() },
				docs: []fieldDoc{
					{"controlnet_module", "A name of GET /controlnet/module_list, but of an image prompt's."},
					{sdDetectImages, "The images in base64, alone or in data URLs."},
					{"controlnet_images", "Another name of it."},
					{"controlnet_processor_res", "Pixels of the shorter side that the module works at; 512 if it is beyond the module's limits. Some modules keep the image's size."},
					{"controlnet_threshold_a", "The module's first number; one beyond its limits is the module's own."},
					{"controlnet_threshold_b", "The module's second number."},
					{"controlnet_masks", "Has no effect."},
					{"low_vram", "Has no effect."},
				},
				example: `{"controlnet_module":"canny","controlnet_input_images":["` + examplePNG + `"],"controlnet_processor_res":64}`,
			},
			answers: []answerDoc{{status: 200, about: "The images.", of: typeOf[sdDetected]()}},
			fails:   [][]kind{bodyFails, largeFails},
		},
	}
}
