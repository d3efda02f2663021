"""Everyday questions with their answers, written for this project: what HH-RLHF's dialogues lack.

None of them is in the demo. They are for training only; another question's answer is the reply of
another dialogue.
"""

from __future__ import annotations

from cluster.rlhf.synthetic.preferences.groups import user
from cluster.rlhf.synthetic.preferences.words import phrases
from cluster.tiny.dialogues.reading import Dialogue

_PAIRS = """
How do I cook rice?|Rinse the rice, add twice as much water, and let it simmer under a lid for
fifteen minutes.|
What is the capital of France?|The capital of France is Paris.|
Which river flows through London?|The Thames flows through London.|
How many days are in a week?|A week has seven days.|
Why do leaves turn red in autumn?|The green colour breaks down when days get shorter, so the red
and yellow in the leaf can be seen.|
Why is the sea salty?|Rain washes salt out of rocks and rivers carry it to the sea, where it stays
when the water dries up.|
What is the largest planet?|Jupiter is the largest planet of our solar system.|
How does a bicycle stay upright?|Its front wheel steers a little into every fall, so a moving
bicycle keeps itself up.|
My knee hurts after running. What should I do?|Rest it for some days, cool it, and start again
with short runs on soft ground. See a doctor if it swells.|
I have a headache. Any advice?|Drink some water, rest your eyes in a dark room, and take a short
walk in fresh air. If it does not go away, ask a doctor.|
My neck is stiff from looking at my phone.|Hold the phone higher, move your shoulders often, and
roll your head slowly from side to side.|
I cannot fall asleep at night.|Go to bed at the same hour, keep the room cool and dark, and leave
screens alone in the last hour.|
I burned my finger on the stove.|Hold it under cool running water for ten minutes and cover it
with a clean cloth. Do not use ice.|
I have a bad cold. How do I get better?|Rest, drink plenty of warm tea, and stay at home until the
fever is gone.|
I am nervous about my exam on Friday.|Practise with old questions, make a plan for each day, and
sleep enough the night before. You will do fine.|
How can I learn English words faster?|Learn ten words a day, write a sentence with each, and
repeat them the next morning.|
I have to give a speech and I am afraid.|Practise it aloud in front of a friend, speak slowly, and
breathe deeply before you begin.|
How should I prepare for my first day at work?|Find out the way, lay out your clothes in the
evening, and arrive a little early. Ask questions and take notes.|
My boss never listens to me. What can I do?|Ask for a short meeting, say calmly what you need, and
bring one example.|
How do I ask for a higher salary?|Write down what you have achieved, find out what others earn,
and ask for a talk at a quiet time.|
How do I bake bread?|Mix flour, water, salt and yeast, let the dough rise for two hours, and bake
it in a hot oven for forty minutes.|
What can I cook with potatoes and cheese?|Slice the potatoes, cover them with cream and cheese,
and bake them until the top is brown.|
My soup is too salty.|Add some water or cream, or let a raw potato cook in the soup for a while.|
How long does pasta have to boil?|Most pasta is done after eight to ten minutes; taste a piece
before you pour off the water.|
How do I make good coffee?|Use fresh beans, grind them just before, and pour hot but not boiling
water over them slowly.|
Can I freeze cooked rice?|Yes, let it cool quickly, put it into a closed box, and eat it within a
month.|
How often should I water my cactus?|Water it every two or three weeks in summer and hardly at all
in winter.|
My tomato plants have yellow leaves.|They may get too much water or too little food; let the soil
dry and give them some fertilizer.|
When should I plant tulips?|Put the bulbs into the ground in autumn, before the first frost.|
How do I get rid of snails in my garden?|Collect them in the evening, water in the morning, and
put a ring of sand around the plants.|
My cat does not eat. Should I worry?|If it has eaten nothing for a day, or seems weak, take it to
a vet.|
How do I teach my dog to sit?|Hold a treat above its nose, say the word when it sits down, and
give it the treat at once.|
How often does a puppy need to go out?|About every two hours, and always after it has slept or
eaten.|
What do rabbits eat?|Rabbits eat mostly hay, some fresh greens, and always need clean water.|
Is a whale a fish?|No, a whale is a mammal: it breathes air and feeds its young with milk.|
Which of these is a fruit: chair, apple, shoe?|The apple is a fruit; a chair and a shoe are not.|
Which is heavier, a car or a spoon?|A car is much heavier than a spoon.|
Which word does not belong: red, blue, table, green?|Table does not belong, since the others are
colours.|
Who wrote Romeo and Juliet?|William Shakespeare wrote Romeo and Juliet.|
When did the first people walk on the moon?|The first people walked on the moon in 1969.|
What does a compass show?|A compass shows where north is, because its needle follows the magnetic
field of the earth.|
What is a passport for?|A passport shows who you are and which country you belong to when you
cross a border.|
What is an umbrella good for?|An umbrella keeps you dry in the rain, and its shade cools you in
the sun.|
What does a dentist do?|A dentist looks after your teeth and treats them when they hurt.|
What is a thermometer?|A thermometer is an instrument that shows how warm or cold something is.|
Explain what a bank account is.|A bank account keeps your money safe, and you can pay bills from
it or take money out.|
What is recycling?|Recycling means that old paper, glass or metal is made into new things instead
of being thrown away.|
How do magnets work?|In a magnet many tiny magnetic parts point the same way, so that together
they pull on iron.|
Why do we have seasons?|The axis of the earth is tilted, so each half gets more sun for one part
of the year and less for the other.|
Why does ice float?|Ice is lighter than the same amount of water, because water expands when it
freezes.|
How do birds fly?|Their wings push air downwards, and the air pushes the bird up.|
Why do cats purr?|Cats mostly purr when they feel well, and sometimes to calm themselves.|
What makes thunder?|Lightning heats the air so suddenly that it expands with a loud bang.|
How do I remove a coffee stain from a shirt?|Rinse it with cold water, rub in some soap, wait, and
then wash the shirt as usual.|
My shoes are wet. How do they dry fast?|Take out the soles, fill the shoes with newspaper, and
change it every hour.|
How do I clean a window without streaks?|Wipe it with warm water and a little vinegar, then dry it
with newspaper or a soft cloth.|
The sink in my kitchen is blocked.|Pour hot water and baking soda into it, wait a few minutes, and
use a plunger if that does not help.|
My bicycle has a flat tyre.|Take off the wheel, find the hole under water, glue a patch on it, and
pump the tyre up again.|
My phone battery is empty by noon.|Lower the brightness, close apps that you do not use, and
switch off the radio when you do not need it.|
My computer is very slow.|Restart it, close what you do not need, and remove programs that start
by themselves.|
I forgot my password.|Click on the link below the login form; you will get an e-mail with which
you can choose a new one.|
How do I choose a safe password?|Take four or five words that have nothing to do with each other,
and use them for one account only.|
How do I take better photos?|Keep the light behind you, hold the camera still, and go closer to
what you want to show.|
I want to start running. Any tips?|Run slowly for ten minutes three times a week, then add a
little every week.|
How do I learn to swim as an adult?|Take a course for beginners, get used to the water first, and
practise breathing out under it.|
Which exercise is good for strong arms?|Push-ups are good for your arms, and you need nothing but
a floor.|
How can I save money every month?|Write down what you spend, put some aside on the first day, and
cancel what you do not use.|
Should I rent or buy a flat?|Buying pays if you stay for many years; renting is better if you may
move soon.|
What should I pack for a week at the beach?|Pack a swimsuit, a towel, sun cream, a hat, and a book
for the evenings.|
How do I get from the airport to the city?|The train is usually fastest; buses are cheaper and a
taxi takes you to the door.|
I missed my train. What now?|Ask at the counter whether your ticket is valid for the next one, and
look at the board for its platform.|
Can you recommend a book for a long journey?|Take a detective story, for instance one by Agatha
Christie; it makes the hours go by.|
I am bored on Sundays.|Try something new: visit a museum, bake a cake, or call an old friend and
go for a walk.|
What can we do with the children on a rainy day?|Build a cave of blankets, paint, bake biscuits,
or play hide and seek in the flat.|
I moved to a new city and know nobody.|Welcome! Join a sports club or a course, and say hello to
your neighbours; it gets easier soon.|
My best friend does not talk to me any more.|Write that you miss them and ask what is wrong.
Listen first, and say sorry if you hurt them.|
I feel lonely.|I am sorry to hear that. Call someone you like, and try a group that meets every
week.|
My son is afraid of the dark.|Leave a small light on, read him a story, and tell him that you are
near.|
What can I give my mother for her birthday?|Give her something that shows you thought of her:
flowers, a photo book, or an afternoon together.|
Write a sentence to say sorry for being late.|I am sorry that I came so late; next time I will
take the earlier bus.|
Please write one sentence to invite Tom to dinner.|Dear Tom, would you like to come to dinner on
Saturday evening?|
Write a birthday wish for my aunt.|Dear aunt, I wish you a happy birthday and a wonderful year.|
Please write one sentence to say goodbye to a colleague.|Thank you for the good years together,
and all the best in your new job.|
Write a short note to tell my flatmate that the milk is gone.|Hi, we are out of milk; could you
bring some when you come home?|
Translate to simple words: He was exhausted.|He was very tired.|
What is the opposite of cold?|The opposite of cold is hot.|
Give me another word for quick.|Another word for quick is fast.|
How do you spell the number 8?|The number 8 is spelled eight.|
How many minutes are in two hours?|There are 120 minutes in two hours.|
How much is half of 50?|Half of 50 is 25.|
What time is it three hours after noon?|Three hours after noon it is three o'clock.|
What should I wear when it snows?|Wear a warm coat, gloves, a hat, and boots that keep your feet
dry.|
Is it safe to pet a strange dog?|Ask its owner first, let it smell your hand, and move slowly.|
What do I do if there is a fire in my house?|Leave the house at once, close the doors behind you,
and call the fire brigade.|
How do I say no politely?|Thank them for asking, say briefly that you cannot, and offer another
time if you like.|
How do I stop biting my nails?|Keep your hands busy, cut the nails short, and notice when you do
it most.|
Tell me something nice.|You asked a friendly question today, and that makes the world a little
better.
"""


def everyday_dialogues() -> tuple[Dialogue, ...]:
    """A question and its answer each."""
    texts = phrases(_PAIRS)
    return tuple(
        Dialogue((user(question),), answer)
        for question, answer in zip(texts[::2], texts[1::2], strict=True)
    )
