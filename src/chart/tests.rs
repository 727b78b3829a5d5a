use super::draw::short;
use super::*;

fn chart(marks: Vec<Mark>) -> Chart {
    Chart {
        title: "<t>".to_owned(),
        description: String::new(),
        legend: Corner::UpperRight,
        x: Axis::log("a & b"),
        y: Axis::linear("a & b"),
        marks,
    }
}

#[test]
fn names_are_escaped_and_numbers_short() {
    let points =
        ChartShape::Points(vec![(1.0, 2.0, Some("<script>".to_owned())), (100.0, 3.0, None)]);
    let svg = chart(vec![Mark { name: "a<b".to_owned(), shape: points }]).svg().expect("drawn");
    assert!(
        svg.contains("&lt;script&gt;") && svg.contains("a&lt;b") && !svg.contains("<script"),
        "{svg}"
    );
    assert_eq!([0.5, 12.0, 4096.0, 2e6].map(|x| short(&x)), ["0.5", "12", "4.1k", "2M"]);
}

#[test]
fn a_page_gives_text_its_own_color() {
    let curve = ChartShape::Curve {
        points: vec![(1.0, 1.0), (9.0, 2.0)],
        band: vec![(1.0, 0.5, 1.5), (9.0, 1.0, 3.0)],
    };
    let marks = vec![Mark { name: "c".to_owned(), shape: curve }];
    let svg = chart(marks).inline_svg().expect("drawn");
    assert!(svg.contains("currentColor") && !svg.contains("#000000"), "{svg}");
}

#[test]
fn nothing_to_draw_is_nothing() {
    assert_eq!(chart(Vec::new()).svg(), Ok(String::new()));
    let nan = ChartShape::Points(vec![(f64::NAN, f64::NAN, None)]);
    assert_eq!(chart(vec![Mark { name: String::new(), shape: nan }]).svg(), Ok(String::new()));
}

fn named(name: &str, shape: ChartShape) -> Mark {
    Mark { name: name.to_owned(), shape }
}

#[test]
fn a_diagonal_gives_both_axes_one_range() {
    let points = ChartShape::Points(vec![(90.0, 94.0, None), (50.0, 45.0, None)]);
    let chart = Chart {
        y: Axis::log("predicted, tok/s"),
        ..chart(vec![named("", ChartShape::Diagonal), named("m4max", points)])
    };
    let [x, y] = chart.ranges().expect("points");
    assert_eq!(x, y);
    assert!(x.start < 45.0 && x.end > 94.0, "{x:?}");
    let svg = chart.svg().expect("drawn");
    for text in ["a &amp; b", "predicted, tok/s", "m4max"] {
        assert!(svg.contains(text), "{text}");
    }
}

#[test]
fn axes_span_what_they_go_by() {
    let points =
        || vec![named("", ChartShape::Points(vec![(1.0, 900.0, None), (8.0, 904.0, None)]))];
    let of = |x, y| {
        let chart = Chart { x, y, legend: Corner::LowerRight, ..chart(points()) };
        chart.ranges().expect("points")
    };
    let [x, y] = of(Axis::whole("turn"), Axis::close("MB"));
    assert!(x.start == 0.0 && x.end > 8.0 && y.start > 800.0 && y.end < 1000.0, "{x:?} {y:?}");
    let [_, y] = of(Axis::whole("turn"), Axis::linear("MB"));
    assert_eq!(y.start, 0.0);
    let [x, _] = of(Axis::names(vec!["one".to_owned(), "two".to_owned()]), Axis::linear("MB"));
    assert_eq!(x, 0.0..2.0);
}

#[test]
fn bars_stand_over_the_names_of_their_places() {
    let bar = Bar { sides: [0.15, 0.47], height: 30.0, interval: [28.0, 33.0] };
    let chart = Chart {
        x: Axis::names(vec!["p512".to_owned()]),
        ..chart(vec![named("a llama.cpp", ChartShape::Bars(vec![bar]))])
    };
    let svg = chart.svg().expect("drawn");
    assert!(svg.contains("p512") && svg.contains("a llama.cpp"), "{svg}");
}

#[test]
fn every_value_has_its_figures_in_a_page() {
    let curve = ChartShape::Curve {
        points: vec![(1.0, 10.0), (9.0, 2.0)],
        band: vec![(1.0, 5.0, 15.0), (9.0, 1.0, 3.0)],
    };
    let marks = vec![named("a<b", curve.clone()), named("", curve)];
    let drawn = chart(marks);
    let svg = drawn.inline_svg().expect("drawn");
    assert_eq!(svg.matches("class=\"spot\"").count(), 2, "{svg}");
    assert!(svg.contains("<title>a&lt;b: 10 a &amp; b (5–15) at 1 a &amp; b</title>"), "{svg}");
    assert!(svg.trim_end().ends_with("</svg>") && !drawn.svg().expect("drawn").contains("<title>"));
}

#[test]
fn bars_stand_on_their_names() {
    let bar = NamedBar { name: "m4max-40/64".to_owned(), height: 3.0, interval: [2.0, 4.0] };
    let drawn = Chart::of_bars("Decode", "Bars", "tok/s", vec![bar]);
    let svg = drawn.inline_svg().expect("drawn");
    assert!(svg.contains("<title>m4max-40/64: 3 tok/s (2–4)</title>"), "{svg}");
    assert_eq!(Chart::of_bars("", "", "", Vec::new()).svg(), Ok(String::new()));
}
