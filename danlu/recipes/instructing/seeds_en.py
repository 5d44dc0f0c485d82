"""Seed tasks in English, written for Danlu: (instruction, input, output, does it choose between a few labels?).

Many kinds and few of each, since a model that goes on with a list goes on with its kinds.
"""

TASKS: tuple[tuple[str, str, str, bool], ...] = (
    (
        "Explain why the moon seems to change its shape over a month.",
        "",
        "Half of the moon is always lit by the sun. As the moon goes around the earth, we see that half from different "
        "sides: fully at full moon, not at all at new moon, and partly in between.",
        False,
    ),
    (
        "Write a polite message that moves a meeting from Tuesday to Thursday.",
        "The meeting is with Mr. Okafor at 10:00.",
        "Dear Mr. Okafor, something has come up on Tuesday. Could we meet on Thursday at 10:00 instead? I am sorry for "
        "the trouble. Kind regards",
        False,
    ),
    (
        "Decide whether the customer's message is a complaint, a question or praise.",
        "The lamp arrived with a crack in its foot, for the second time.",
        "complaint",
        True,
    ),
    (
        "Put the events in the order in which they happened.",
        "the first printed Bible; the fall of Rome; the first railway; the first flight with an engine",
        "the fall of Rome; the first printed Bible; the first railway; the first flight with an engine",
        False,
    ),
    (
        "A shop sells pens at 1.20 each and gives every fifth one for free. What do 12 pens cost?",
        "",
        "Of 12 pens two are free (the fifth and the tenth), so 10 are paid: 10 × 1.20 = 12.00.",
        False,
    ),
    ("Translate the sentence into Chinese.", "The library closes at nine tonight.", "图书馆今晚九点关门。", False),
    (
        "Say which of the two sentences is more formal.",
        "A: We regret to inform you that the event is cancelled. B: Sorry, no party tonight.",
        "A",
        True,
    ),
    (
        "Write a Python function that returns the second largest number of a list.",
        "",
        "def second_largest(numbers):\n    distinct = sorted(set(numbers))\n    if len(distinct) < 2:\n"
        '        raise ValueError("needs two different numbers")\n    return distinct[-2]',
        False,
    ),
    (
        "Summarise the paragraph in one sentence.",
        "Bees visit flowers for nectar. While they drink, pollen sticks to their hair, and they carry it to the next "
        "flower of the same kind, which can then form seeds.",
        "While bees drink nectar they carry pollen between flowers, so that these can form seeds.",
        False,
    ),
    (
        "Suggest five names for a small bakery by the sea, and give a reason for each.",
        "",
        "1. Salt and Crumb: sea and bread. 2. The Early Tide: bakers rise early. 3. Driftloaf: driftwood and loaf. "
        "4. Harbour Oven: where it stands. 5. Seagrain: grain at the sea.",
        False,
    ),
    (
        "Find the grammatical mistake and correct it.",
        "Neither of the boys have brought their books.",
        "'Have' should be 'has', since 'neither' is singular: Neither of the boys has brought his books.",
        False,
    ),
    (
        "Can the conclusion be drawn from the two statements? Answer yes, no or unclear.",
        "All herons eat fish. Tom's bird eats fish. Conclusion: Tom's bird is a heron.",
        "no",
        True,
    ),
    (
        "Describe how to make a paper boat so that a child of six can follow.",
        "",
        "1. Fold the sheet in half. 2. Fold both upper corners to the middle. 3. Fold the lower edges up, one to each "
        "side. 4. Open the hat and press it to a square. 5. Fold the lower corners up. 6. Pull the top corners apart.",
        False,
    ),
    (
        "Turn the notes into a table with the columns name, age and town.",
        "Mira is 31 and lives in Lund. Paul, 45, moved to Graz.",
        "| name | age | town |\n|---|---|---|\n| Mira | 31 | Lund |\n| Paul | 45 | Graz |",
        False,
    ),
    (
        "Name the advantages and the disadvantages of working at night.",
        "",
        "Advantages: it is quiet, pay is often higher, and the day is free. Disadvantages: sleep suffers, meals are "
        "irregular, and one sees less of family and friends.",
        False,
    ),
    (
        "Is the temperature given in Celsius or in Fahrenheit? Judge by what is said.",
        "It was 75 degrees, so we had lunch in the garden.",
        "Fahrenheit",
        True,
    ),
    (
        "Write the opening of a story in which a lighthouse keeper finds a letter.",
        "",
        "The bottle had lain among the weeds for three tides before Ansel climbed down to it. The letter inside was "
        "dry, addressed in a careful hand, and it began with his own name.",
        False,
    ),
    (
        "Extract every date from the text and write each as year-month-day.",
        "The treaty was signed on 3 May 1921 and came into force on the first of January 1922.",
        "1921-05-03, 1922-01-01",
        False,
    ),
    (
        "Rewrite the sentence so that it holds no foreign or technical word.",
        "The server's latency impairs the user experience.",
        "The machine answers so slowly that people do not like to use it.",
        False,
    ),
    (
        "Which question should a doctor ask first when a patient says that the knee hurts, and why?",
        "",
        "Whether there was a fall or a blow. After an injury a fracture or a torn ligament has to be ruled out first; "
        "without one, wear and inflammation are more likely.",
        False,
    ),
    (
        "Sort the words into three groups and give each group a name.",
        "violin, oak, trout, cello, perch, birch",
        "Instruments: violin, cello. Trees: oak, birch. Fish: trout, perch.",
        False,
    ),
)
